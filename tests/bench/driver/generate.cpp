// SPDX-License-Identifier: Apache-2.0
#include "driver/generation.h"
#include "driver/modes.h"
#include "driver/rounds.h"

namespace selvage::bench {

void generate(MpiSession& mpi, Options const& options) {
    Job job(mpi, options);
    Generation generation(job, options);
    std::int64_t drawn = 0;
    auto const sweep = [&] { drawn = generation.sweep(); };
    timed(job.world(), sweep);  // the first one makes the products' primitives
    auto const round = [&]() -> Numbers {
        double const seconds = timed(job.world(), sweep);
        return {{"seconds", seconds}, {"tokens", static_cast<double>(sum_over(job.world(), drawn))}};
    };
    serve_rounds(job.world(), {{"matrix_elements", static_cast<double>(matrix_elements(job.model().config()))}}, round);
}

}  // namespace selvage::bench

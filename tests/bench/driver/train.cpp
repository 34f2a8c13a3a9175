// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "driver/modes.h"
#include "driver/rounds.h"
#include "driver/training.h"

namespace selvage::bench {

void train(MpiSession& mpi, Options const& options) {
    Job job(mpi, options);
    Training training(job, options);
    training.step();  // the first one makes the products' primitives
    double const once = timed(job.world(), [&] { training.step(); });
    auto const wanted = static_cast<std::int64_t>(std::ceil(options.seconds / once));
    std::int64_t const steps = max_over(job.world(), std::clamp<std::int64_t>(wanted, 1, 1000));
    auto const round = [&]() -> Numbers {
        double const seconds = timed(job.world(), [&] {
            for (std::int64_t i = 0; i < steps; ++i) training.step();
        });
        return {{"seconds", seconds},
                {"tokens", static_cast<double>(steps) * training.tokens()},
                {"loss", training.loss()}};
    };
    serve_rounds(job.world(), {{"first_loss", training.loss()}}, round);
}

}  // namespace selvage::bench

// SPDX-License-Identifier: Apache-2.0
#include "driver/job.h"

#include "kernels/gemm.h"
#include "kernels/threads.h"

namespace selvage::bench {

Job::Job(MpiSession& mpi, Options const& options)
    : device_(make_device(options.device)), arena_(*device_), grid_(mpi.world(), {}) {
    kernels::set_threads(options.threads);
    kernels::choose_gemm();
    model_ = std::make_unique<Model>(arena_, model_config(options.model), grid_, 0, options.precision);
    model_->parameters().initialise(1, options.threads);
}

}  // namespace selvage::bench

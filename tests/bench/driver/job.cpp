// SPDX-License-Identifier: Apache-2.0
#include "driver/job.h"

#include "base/error.h"
#include "kernels/gemm.h"
#include "kernels/threads.h"

namespace selvage::bench {
namespace {

std::unique_ptr<Model> make_model(Arena& arena, ProcessGrid const& grid, Options const& options) {
    if (options.precision == Precision::bf16)
        fail(ExitCode::bad_data, "this version of the model computes in f32 only; give --precision f32");
    return std::make_unique<Model>(arena, model_config(options.model), grid);
}

}  // namespace

Job::Job(MpiSession& mpi, Options const& options)
    : device_(make_device("cpu")), arena_(*device_), grid_(mpi.world(), {}) {
    kernels::set_threads(options.threads);
    kernels::choose_gemm();
    model_ = make_model(arena_, grid_, options);
    model_->parameters().initialise(1);
}

}  // namespace selvage::bench

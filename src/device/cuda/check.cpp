// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/check.h"

#include <cuda_runtime_api.h>

#include "base/error.h"

namespace selvage {

void check_cuda(int status, char const* call, char const* file, int line) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // not to be found again by the next call
    auto const error = static_cast<cudaError_t>(status);
    fail(ExitCode::system, "{} failed ({}: {}) at {}:{}", call, cudaGetErrorName(error), cudaGetErrorString(error),
         file, line);
}

}  // namespace selvage

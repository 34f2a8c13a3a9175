// SPDX-License-Identifier: Apache-2.0
#pragma once
// Errors of the CUDA runtime.

namespace selvage {

// Throws Error(system) that names the call, unless `status`, a cudaError_t, is cudaSuccess.
void check_cuda(int status, char const* call, char const* file, int line);

}  // namespace selvage

#define SELVAGE_CUDA_CHECK(call) ::selvage::check_cuda((call), #call, __FILE__, __LINE__)

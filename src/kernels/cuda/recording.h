// SPDX-License-Identifier: Apache-2.0
#pragma once
// Streams whose work is recorded (CUDA graphs). In builds with SELVAGE_CUDA; private to this folder.
#include <cuda_runtime_api.h>

#include "base/error.h"
#include "device/cuda/check.h"
#include "device/stream.h"

namespace selvage::kernels::cuda {

// For what a library chooses or builds when it meets a shape first: that waits and allocates.
inline void must_not_be_recorded(Stream& stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    SELVAGE_CUDA_CHECK(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream.native()), &status));
    SELVAGE_CHECK(status == cudaStreamCaptureStatusNone, "a library meets a new shape in a recorded stream");
}

}  // namespace selvage::kernels::cuda

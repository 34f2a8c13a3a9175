// SPDX-License-Identifier: Apache-2.0
#ifdef SELVAGE_CUDA
#include "kernels/cuda/recording.h"

#include <cuda_runtime_api.h>

#include "base/error.h"
#include "device/cuda/check.h"

namespace selvage::kernels::cuda {

void must_not_be_recorded(Stream& stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    SELVAGE_CUDA_CHECK(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream.native()), &status));
    SELVAGE_CHECK(status == cudaStreamCaptureStatusNone, "a library meets a new shape in a recorded stream");
}

}  // namespace selvage::kernels::cuda
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/stream.h"

namespace selvage::kernels::cuda {

// For what a library chooses or builds when it meets a shape first: that waits and allocates, which a stream whose work
// is recorded (CUDA graphs) cannot. In builds with SELVAGE_CUDA.
void must_not_be_recorded(Stream& stream);

}  // namespace selvage::kernels::cuda

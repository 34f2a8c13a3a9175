// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>

#include "device/device.h"

namespace selvage {

// The GPU `index` of those that the process sees. In builds with SELVAGE_CUDA.
std::unique_ptr<Device> make_cuda_device(int index);
int count_cuda_devices();  // 0 where the driver is not there

// Host memory, in which the CUDA kernels run as emulated. In builds with SELVAGE_EMULATION.
std::unique_ptr<Device> make_emulated_device();

}  // namespace selvage

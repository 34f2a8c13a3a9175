// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>

#include "device/device.h"

namespace selvage {

std::unique_ptr<Device> make_cpu_device();

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "device/device.h"

#include "base/error.h"
#include "device/cpu/cpu_device.h"

namespace selvage {

std::unique_ptr<Device> make_device(std::string const& name) {
    if (name == "cpu") return make_cpu_device();
    fail(ExitCode::bad_data, "device '{}' is not in this build; use 'cpu'", name);
}

}  // namespace selvage

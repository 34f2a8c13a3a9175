// SPDX-License-Identifier: Apache-2.0
#pragma once
// Devices that a build or a machine may lack.
#include <cstdlib>
#include <memory>
#include <string>

#include "base/error.h"
#include "device/device.h"

namespace selvage::test {

// The device `name`; null where there is none, and `why`. SELVAGE_REQUIRE_GPU=1: a GPU must be there, its error is
// thrown.
inline std::unique_ptr<Device> device_if_there(std::string const& name, std::string& why) {
    try {
        return make_device(name);
    } catch (Error const& error) {
        char const* const required = std::getenv("SELVAGE_REQUIRE_GPU");
        if (name == "cuda" && required != nullptr && std::string(required) == "1") throw;
        why += std::string(error.what()) + "\n";
        return nullptr;
    }
}

// The device whose memory the host cannot touch: "cuda", or else "emulated"; "" where there is neither.
inline std::string accelerator(std::string& why) {
    for (char const* const name : {"cuda", "emulated"})
        if (device_if_there(name, why)) return name;
    return "";
}

}  // namespace selvage::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdlib>
#include <memory>
#include <string>

#include "base/error.h"
#include "device/device.h"

namespace selvage::test {

// The device of this name for this rank, of several GPUs in turn. Null, with the reason, where the build or the machine
// lacks it: the test is skipped then, unless SELVAGE_REQUIRE_GPU=1 says that there must be a GPU.
inline std::unique_ptr<Device> find_device(std::string const& name, std::string& reason, int rank = 0) {
    try {
        return make_device(name, count_gpus() > 0 ? rank % count_gpus() : 0);
    } catch (Error const& error) {
        char const* const required = std::getenv("SELVAGE_REQUIRE_GPU");
        if (name == "cuda" && required != nullptr && std::string(required) == "1") throw;
        reason = error.what();
        return nullptr;
    }
}

// The device whose memory the host cannot touch: "cuda", or else "emulated"; "" where there is neither, with the
// reasons.
inline std::string accelerator(std::string& reasons) {
    for (char const* const name : {"cuda", "emulated"}) {
        std::string reason;
        if (find_device(name, reason)) return name;
        reasons += reason + "\n";
    }
    return "";
}

}  // namespace selvage::test

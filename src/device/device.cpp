// SPDX-License-Identifier: Apache-2.0
#include "device/device.h"

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "device/cuda/cuda_device.h"

namespace selvage {

std::unique_ptr<Device> make_device(std::string const& name) {
    if (name == "cpu") return make_cpu_device();
#ifdef SELVAGE_CUDA
    if (name == "cuda") return make_cuda_device();
#else
    if (name == "cuda")
        fail(ExitCode::bad_data, "device 'cuda': not built with CUDA (configure with --preset cuda); use 'cpu'");
#endif
#ifdef SELVAGE_EMULATION
    if (name == "emulated") return make_emulated_device();
#endif
    fail(ExitCode::bad_data, "device '{}' is not in this build; use 'cpu'", name);
}

}  // namespace selvage

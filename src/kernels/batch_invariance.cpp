// SPDX-License-Identifier: Apache-2.0
#include "kernels/batch_invariance.h"

#include <fmt/core.h>

#include <array>
#include <utility>

#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/gemm_library.h"

namespace selvage::kernels {

namespace {

bool& known(DeviceKind device) {
    static std::array<bool, 2> by_device{true, true};
    return by_device.at(static_cast<std::size_t>(device));
}

}  // namespace

bool is_batch_invariant(DeviceKind device) { return known(device); }

std::string set_batch_invariant(bool batch_invariant, DeviceKind device) {
    if (std::exchange(known(device), batch_invariant) == batch_invariant) return {};
#if defined(SELVAGE_CUDA) || defined(SELVAGE_EMULATION)
    if (device == DeviceKind::cuda) cuda::set_batch_invariant(batch_invariant);
    if (device == DeviceKind::cuda && !batch_invariant)
        return fmt::format("precision.batch_invariant = false: products in bf16 by {}, attention by {}",
                           cuda::library_products(), cuda::library_attention());
#endif
    if (device == DeviceKind::cpu && !batch_invariant)
        return "precision.batch_invariant = false changes nothing on this device";
    return {};
}

}  // namespace selvage::kernels

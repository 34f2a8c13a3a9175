// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention_plan.h"

#include <algorithm>

namespace selvage::kernels {

std::span<std::byte> AttentionPlan::room_for(std::size_t bytes) {
    used_ = bytes;
    if (memory_.bytes() < bytes) {
        std::size_t const more = std::max(bytes, 2 * memory_.bytes());
        memory_ = Memory();
        memory_ = arena_.allocate("attention lists", more);
        host_.resize(more);
        ++moves_;
    }
    return std::span(host_).first(bytes);
}

void AttentionPlan::send(AttentionSizes const& sizes, Stream& stream) {
    sizes_ = sizes;
    arena_.device().copy_to_device(memory_.data(), host_.data(), used_, stream);
}

}  // namespace selvage::kernels

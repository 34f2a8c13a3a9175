// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <vector>

namespace selvage::kernels {

// `count` floats of a memory that grows, at the beginning of a cache line.
inline float* aligned_floats(std::vector<float>& memory, std::int64_t count) {
    constexpr std::size_t line = 16;
    if (memory.size() < static_cast<std::size_t>(count) + line) memory.resize(static_cast<std::size_t>(count) + line);
    auto const past = reinterpret_cast<std::uintptr_t>(memory.data()) / sizeof(float) % line;
    return memory.data() + (line - past) % line;
}

}  // namespace selvage::kernels

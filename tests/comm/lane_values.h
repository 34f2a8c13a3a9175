// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstdint>

#include "base/philox.h"

namespace selvage::test {

// Numbers of very different size, so that the order of additions shows in the bits.
inline float lane_value(std::int64_t lane, std::int64_t element) {
    Random const random(5, Purpose::test);
    double const u = random.uniform({0, static_cast<std::uint32_t>(lane), static_cast<std::uint32_t>(element)});
    return static_cast<float>(std::ldexp(u - 0.5, static_cast<int>((lane * 7 + element) % 24)));
}

// The definition, written recursively.
inline float tree_of_lanes(std::int64_t node, std::int64_t lanes, std::int64_t element) {
    if (node >= lanes) return lane_value(node - lanes, element);
    return tree_of_lanes(2 * node, lanes, element) + tree_of_lanes(2 * node + 1, lanes, element);
}

}  // namespace selvage::test

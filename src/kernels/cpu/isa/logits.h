// SPDX-License-Identifier: Apache-2.0
#pragma once
// What softmax and sampling share: logits in vectors, and their maximum.
#include "kernels/cpu/simd.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr float minus_infinity = -__builtin_inff();
constexpr std::int64_t block_size = 1024;

// Lanes behind `count` weigh nothing.
SELVAGE_INLINE F16 load_logits(float const* x, std::int64_t count) {
    return count >= lanes ? load(x) : first(count, load(x, count), set(minus_infinity));
}

// In four chains: one alone would wait for itself.
SELVAGE_INLINE float largest_of(float const* x, std::int64_t n) {
    F16 largest[4] = {set(minus_infinity), set(minus_infinity), set(minus_infinity), set(minus_infinity)};
    std::int64_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        for (int j = 0; j < 4; ++j) largest[j] = max(load(x + i + j * lanes), largest[j]);
    for (; i < n; i += lanes) largest[0] = max(load_logits(x + i, n - i), largest[0]);
    return reduce_max(max(max(largest[0], largest[1]), max(largest[2], largest[3])));
}

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

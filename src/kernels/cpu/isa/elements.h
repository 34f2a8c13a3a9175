// SPDX-License-Identifier: Apache-2.0
#pragma once
// Loops over elements of either type of activations.
#include "kernels/cpu/simd.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

// In place of the number of elements: all lanes.
struct Whole {};
template <class E>
SELVAGE_INLINE F16 load(E const* p, Whole) {
    return load(p);
}
template <class E>
SELVAGE_INLINE void store(E* p, F16 a, Whole) {
    store(p, a);
}

template <class E>
SELVAGE_INLINE E rounded_to(float x) {
    if constexpr (__is_same(E, float))
        return x;
    else
        return rounded_bf16(x);
}

// Asks for what follows p in memory some way on: the processor's own prefetching is not far enough ahead, and ends at a
// page. Worth it where a pass goes over more than caches hold.
template <class... P>
SELVAGE_INLINE void ahead(P const*... p) {
    constexpr std::int64_t bytes = 2048;
    (prefetch(reinterpret_cast<char const*>(p) + bytes), ...);
}

// body(i, count) for each vector of n elements: count is Whole, and the number of elements for the last part of one.
template <class Body>
SELVAGE_INLINE void over_vectors(std::int64_t n, Body const& body) {
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) body(i, Whole{});
    if (i < n) body(i, n - i);
}

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tensors of either element type of activations, for the tests of kernels.
#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "kernels/numbers.h"

namespace selvage::test {

template <class E>
using Elements = std::vector<E>;

// Unit roundoff of the type.
template <class E>
constexpr double epsilon_of = std::is_same_v<E, float> ? epsilon_f32 : 1.0 / (1 << 8);

inline float widened(float x) { return x; }
inline float widened(BFloat16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

// The nearest value of the type, ties to even, by arithmetic, for finite values. bfloat16 has no numbers below the
// smallest normal one.
template <class E>
E nearest(double x) {
    if constexpr (std::is_same_v<E, float>) {
        return static_cast<float>(x);
    } else {
        bool const vanishes = std::abs(x) < 0x1p-126;
        double const quantum = vanishes ? 1.0 : std::ldexp(1.0, std::ilogb(x) - 7);
        auto const value = static_cast<float>(std::copysign(vanishes ? 0 : std::nearbyint(x / quantum) * quantum, x));
        return {static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16)};
    }
}

template <class E>
Elements<E> elements_of(Floats const& values) {
    Elements<E> result;
    for (float const value : values) result.push_back(nearest<E>(value));
    return result;
}
template <class E>
Elements<E> random_elements(std::int64_t count, std::uint32_t stream, double scale = 1.0) {
    return elements_of<E>(random_floats(count, stream, scale));
}
template <class E>
Floats floats_of(Elements<E> const& values) {
    Floats result;
    for (E const value : values) result.push_back(widened(value));
    return result;
}
template <class E>
TensorView view_of(Elements<E> const& values, Shape shape) {
    SELVAGE_CHECK(shape.elements() == static_cast<std::int64_t>(values.size()), "{} values as {}", values.size(),
                  shape.text());
    return TensorView::of(values.data(), shape);
}

using ElementTypes = testing::Types<float, BFloat16>;

}  // namespace selvage::test

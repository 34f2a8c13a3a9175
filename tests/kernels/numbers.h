// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random tensors and comparisons for the tests of kernels.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/philox.h"
#include "tensor/tensor.h"

namespace selvage::test {

using Floats = std::vector<float>;

constexpr double epsilon_f32 = 1.0 / (1 << 24);  // unit roundoff

// Beside the portable one; a processor has some of them.
constexpr char const* other_tables[] = {"avx2", "avx512", "avx512_bf16", "amx"};

inline void append(Floats& to, Floats const& from) { to.insert(to.end(), from.begin(), from.end()); }

// Uniform in [-1, 1) * scale; `stream` tells vectors of one test apart.
inline Floats random_floats(std::int64_t count, std::uint32_t stream, double scale = 1.0) {
    Random const random(7, Purpose::test);
    Floats values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>((2 * random.uniform({stream, static_cast<std::uint32_t>(i), 0}) - 1) * scale);
    return values;
}

// bfloat16, rounded to the nearest, ties to even; by another way than the kernels.
using Bf16s = std::vector<BFloat16>;

inline float value(BFloat16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }
inline BFloat16 rounded(float x) {
    if (std::isnan(x)) return {0x7fc0};
    auto const bits = std::bit_cast<std::uint32_t>(x);
    BFloat16 const below{static_cast<std::uint16_t>(bits >> 16)};
    std::uint32_t const rest = bits & 0xffffU;
    bool const up = rest > 0x8000U || (rest == 0x8000U && below.bits % 2 == 1);
    return {static_cast<std::uint16_t>(below.bits + (up ? 1 : 0))};
}
inline Bf16s rounded(Floats const& values) {
    Bf16s result;
    for (float const x : values) result.push_back(rounded(x));
    return result;
}
inline Floats values(Bf16s const& rounded) {
    Floats result;
    for (BFloat16 const x : rounded) result.push_back(value(x));
    return result;
}

template <class T>
TensorView view(std::vector<T> const& values, Shape shape) {
    SELVAGE_CHECK(shape.elements() == static_cast<std::int64_t>(values.size()), "{} values as {}", values.size(),
                  shape.text());
    return TensorView::of(values.data(), shape);
}
inline TensorView view(std::vector<std::int32_t> const& values) {
    return TensorView::of(values.data(), {static_cast<std::int64_t>(values.size())});
}

inline bool same_bits(float const* a, float const* b, std::size_t count) {
    return count == 0 || std::memcmp(a, b, count * sizeof(float)) == 0;
}
inline bool same_bits(Floats const& a, Floats const& b) {
    return a.size() == b.size() && same_bits(a.data(), b.data(), a.size());
}

// |got - wanted| <= tolerance[i] for all i; the first one off is shown.
inline void expect_near(Floats const& got, std::vector<double> const& wanted, double absolute, double relative = 0) {
    ASSERT_EQ(got.size(), wanted.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_LE(std::abs(got[i] - wanted[i]), absolute + relative * std::abs(wanted[i]))
            << "element " << i << ": " << got[i] << " for " << wanted[i];
}

}  // namespace selvage::test

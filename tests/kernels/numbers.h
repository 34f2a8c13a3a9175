// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random tensors and comparisons for the tests of kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/philox.h"
#include "tensor/tensor.h"

namespace selvage::test {

using Floats = std::vector<float>;

constexpr double epsilon_f32 = 1.0 / (1 << 24);  // unit roundoff

// Uniform in [-1, 1) * scale; `stream` tells vectors of one test apart.
inline Floats random_floats(std::int64_t count, std::uint32_t stream, double scale = 1.0) {
    Random const random(7, Purpose::test);
    Floats values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>((2 * random.uniform({stream, static_cast<std::uint32_t>(i), 0}) - 1) * scale);
    return values;
}

inline TensorView view(Floats const& values, Shape shape) {
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

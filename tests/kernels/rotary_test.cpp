// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary.h"

#include <cmath>

#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
using test::epsilon_f32;
using test::epsilon_of;
using test::random_elements;
using test::view;
using test::view_of;
using test::widened;

template <class E>
class Rotary : public testing::Test {};
TYPED_TEST_SUITE(Rotary, test::ElementTypes);

TYPED_TEST(Rotary, TurnsPairsAndBack) {
    Stream stream(DeviceKind::cpu);
    std::int64_t const heads = 3;
    // fp32 arithmetic on values of size up to sqrt(2), then the rounding of what is stored.
    double const arithmetic = 6 * epsilon_f32;
    double const stored = std::is_same_v<TypeParam, float> ? 0 : 1.5 * epsilon_of<TypeParam>;
    for (auto const& [head_size, rotated] : {std::pair<std::int64_t, std::int64_t>{64, 64}, {80, 20}, {6, 2}, {10, 0}})
        for (double const base : {10000.0, 500000.0}) {
            std::vector<std::int32_t> const positions = {0, 1, 5, 1000, 4097};
            auto const rows = static_cast<std::int64_t>(positions.size());
            Elements<TypeParam> const before = random_elements<TypeParam>(rows * heads * head_size, 1);
            Elements<TypeParam> x = before;
            rotary_forward(view_of(x, {rows, heads, head_size}), view(positions), {base, rotated}, stream);
            std::int64_t const half = rotated / 2;
            for (std::int64_t i = 0; i < static_cast<std::int64_t>(x.size()); ++i) {
                std::int64_t const d = i % head_size;
                auto const at = [&](std::int64_t j) -> double { return widened(before[static_cast<std::size_t>(j)]); };
                double wanted = at(i);
                if (d < rotated) {
                    double const angle =
                        positions[static_cast<std::size_t>(i / head_size / heads)] *
                        std::pow(base, -2.0 * static_cast<double>(d % half) / static_cast<double>(rotated));
                    wanted = d < half ? at(i) * std::cos(angle) - at(i + half) * std::sin(angle)
                                      : at(i) * std::cos(angle) + at(i - half) * std::sin(angle);
                }
                ASSERT_NEAR(widened(x[static_cast<std::size_t>(i)]), wanted, d < rotated ? arithmetic + stored : 0.0)
                    << i;
            }
            rotary_backward(view_of(x, {rows, heads, head_size}), view(positions), {base, rotated}, stream);
            // Both parts of a pair are off by what the first turn rounded, and the second turn rounds again.
            for (std::size_t i = 0; i < x.size(); ++i)
                ASSERT_NEAR(widened(x[i]), widened(before[i]), 16 * epsilon_f32 + (std::sqrt(2.0) + 1) * stored);
        }
}

TYPED_TEST(Rotary, NoRows) {
    Stream stream(DeviceKind::cpu);
    Elements<TypeParam> x;
    std::vector<std::int32_t> const positions;
    rotary_forward(view_of(x, {0, 2, 8}), view(positions), {10000.0, 8}, stream);
    EXPECT_TRUE(x.empty());
}

}  // namespace
}  // namespace selvage::kernels

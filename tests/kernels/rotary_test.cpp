// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary.h"

#include <cmath>

#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::Floats;
using test::random_floats;
using test::view;

TEST(Rotary, TurnsPairsAndBack) {
    Stream stream(DeviceKind::cpu);
    std::int64_t const heads = 3;
    for (auto const& [head_size, rotated] : {std::pair<std::int64_t, std::int64_t>{64, 64}, {80, 20}, {6, 2}, {10, 0}})
        for (double const base : {10000.0, 500000.0}) {
            std::vector<std::int32_t> const positions = {0, 1, 5, 1000, 4097};
            auto const rows = static_cast<std::int64_t>(positions.size());
            Floats const before = random_floats(rows * heads * head_size, 1);
            Floats x = before;
            rotary_forward(view(x, {rows, heads, head_size}), view(positions), {base, rotated}, stream);
            std::int64_t const half = rotated / 2;
            for (std::int64_t i = 0; i < static_cast<std::int64_t>(x.size()); ++i) {
                std::int64_t const d = i % head_size;
                auto const at = [&](std::int64_t j) {
                    return static_cast<double>(before[static_cast<std::size_t>(j)]);
                };
                double wanted = at(i);
                if (d < rotated) {
                    double const angle =
                        positions[static_cast<std::size_t>(i / head_size / heads)] *
                        std::pow(base, -2.0 * static_cast<double>(d % half) / static_cast<double>(rotated));
                    wanted = d < half ? at(i) * std::cos(angle) - at(i + half) * std::sin(angle)
                                      : at(i) * std::cos(angle) + at(i - half) * std::sin(angle);
                }
                ASSERT_NEAR(x[static_cast<std::size_t>(i)], wanted, d < rotated ? 6 * epsilon_f32 : 0.0) << i;
            }
            rotary_backward(view(x, {rows, heads, head_size}), view(positions), {base, rotated}, stream);
            for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], before[i], 16 * epsilon_f32);
        }
}

TEST(Rotary, NoRows) {
    Stream stream(DeviceKind::cpu);
    Floats x;
    std::vector<std::int32_t> const positions;
    rotary_forward(view(x, {0, 2, 8}), view(positions), {10000.0, 8}, stream);
    EXPECT_TRUE(x.empty());
}

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary.h"

#include <cmath>

#include "kernels/cuda/emulated.h"
#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
using test::emulated;
using test::emulated_stream;
using test::random_elements;
using test::view;
using test::view_of;
using test::widened;

template <class E>
class EmulatedRotary : public testing::Test {};
TYPED_TEST_SUITE(EmulatedRotary, test::ElementTypes);

std::vector<std::int32_t> const positions = {0, 1, 5, 1000, 4097, 131071, 0x7fffffff};

struct Case {
    std::int64_t heads, head_size, rotated;
    double base;
};

// Cosines and sines in double, rounded, then the operations of the CPU's kernel: the same bits.
template <class E>
Elements<E> turned(Elements<E> const& before, Case const& c, float sign) {
    Elements<E> x = before;
    std::int64_t const half = c.rotated / 2;
    for (std::size_t row = 0; row < positions.size(); ++row)
        for (std::int64_t i = 0; i < c.heads * half; ++i) {
            std::int64_t const pair = i % half;
            double const exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(c.rotated);
            double const angle = positions[row] * std::pow(c.base, exponent);
            auto const cosine = static_cast<float>(std::cos(angle));
            float const sine = static_cast<float>(std::sin(angle)) * sign;
            auto const first = (row * static_cast<std::size_t>(c.heads) + static_cast<std::size_t>(i / half)) *
                                   static_cast<std::size_t>(c.head_size) +
                               static_cast<std::size_t>(pair);
            auto const second = first + static_cast<std::size_t>(half);
            float const a = widened(before[first]), b = widened(before[second]);
            x[first] = test::nearest<E>(std::fma(a, cosine, -(b * sine)));
            x[second] = test::nearest<E>(std::fma(b, cosine, a * sine));
        }
    return x;
}

TYPED_TEST(EmulatedRotary, TurnsPairsAndBack) {
    auto const rows = static_cast<std::int64_t>(positions.size());
    for (Case const& c :
         {Case{3, 64, 64, 1e4}, {2, 80, 16, 5e5}, {3, 20, 6, 1e4}, {1, 256, 256, 5e5}, {2, 10, 0, 1e4}}) {
        if (test::tiny && c.head_size > 80) continue;
        Elements<TypeParam> const before = random_elements<TypeParam>(rows * c.heads * c.head_size, 1);
        Elements<TypeParam> x = before;
        Shape const shape{rows, c.heads, c.head_size};
        emulated().rotary_forward(view_of(x, shape), view(positions), {c.base, c.rotated}, emulated_stream());
        EXPECT_EQ(test::floats_of(x), test::floats_of(turned(before, c, 1)));
        Elements<TypeParam> const between = x;
        emulated().rotary_backward(view_of(x, shape), view(positions), {c.base, c.rotated}, emulated_stream());
        EXPECT_EQ(test::floats_of(x), test::floats_of(turned(between, c, -1)));
    }
}

TEST(EmulatedRotary, RowsDoNotDependOnTheBatch) {
    auto const rows = static_cast<std::int64_t>(positions.size());
    test::Floats all = test::random_floats(rows * 64, 1), one(all.end() - 64, all.end());
    emulated().rotary_forward(view(all, {rows, 2, 32}), view(positions), {1e4, 32}, emulated_stream());
    emulated().rotary_forward(view(one, {1, 2, 32}), view(std::vector<std::int32_t>{positions.back()}), {1e4, 32},
                              emulated_stream());
    EXPECT_TRUE(test::same_bits(one.data(), all.data() + (rows - 1) * 64, one.size()));
}

TYPED_TEST(EmulatedRotary, OfNoRows) {
    Elements<TypeParam> x;
    emulated().rotary_forward(view_of(x, {0, 2, 8}), view(std::vector<std::int32_t>{}), {10000.0, 8},
                              emulated_stream());
    EXPECT_TRUE(x.empty());
}

TEST(EmulatedRotary, HeadsThatAreTooLargeAreOurBug) {
    std::vector<std::int32_t> const zero = {0};
    test::Floats const x(512);
    EXPECT_THROW(emulated().rotary_forward(view(x, {1, 1, 512}), view(zero), {10000.0, 512}, emulated_stream()),
                 std::exception);
    EXPECT_THROW(emulated().rotary_forward(view(x, {1, 8, 64}), view(zero), {10000.0, 66}, emulated_stream()),
                 std::exception);
}

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/cuda/emulated.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::emulated;
using test::emulated_stream;
using test::Floats;
using test::random_floats;
using test::view;

// Rounded operations in the order of the CPU's: the same bits.
TEST(EmulatedAdamW, IsTheFormulaInFloats) {
    for (std::int64_t const n : {0, 16, 48, test::tiny ? 64 : 4112}) {
        Floats w = random_floats(n, 1), m(w.size()), v(w.size());
        Floats values = w, first(w.size()), second(w.size());
        AdamWStep step{.learning_rate = 1e-2F, .weight_decay = 0.1F, .gradient_scale = 0.5F};
        for (step.step = 1; step.step <= 3; ++step.step) {
            Floats const gradient = random_floats(n, static_cast<std::uint32_t>(step.step + 1));
            emulated().adamw_update(view(values, {n}), view(first, {n}), view(second, {n}), view(gradient, {n}), step,
                                    emulated_stream());
            double const b1 = step.beta1, b2 = step.beta2;
            auto const t = static_cast<double>(step.step);
            auto const first_correction = static_cast<float>(1 / (1 - std::pow(b1, t)));
            auto const second_correction = static_cast<float>(1 / (1 - std::pow(b2, t)));
            for (std::size_t i = 0; i < w.size(); ++i) {
                float const g = gradient[i] * 0.5F;
                m[i] = std::fma(step.beta1, m[i], static_cast<float>(1 - b1) * g);
                v[i] = std::fma(step.beta2, v[i], static_cast<float>(1 - b2) * (g * g));
                float const root = std::sqrt(v[i] * second_correction) + step.epsilon;
                float const update = std::fma(step.weight_decay, w[i], m[i] * first_correction / root);
                w[i] = std::fma(-step.learning_rate, update, w[i]);
            }
            EXPECT_TRUE(test::same_bits(values, w));
            EXPECT_TRUE(test::same_bits(first, m));
            EXPECT_TRUE(test::same_bits(second, v));
        }
    }
}

TEST(EmulatedAdamW, BlockSumsOfSquares) {
    std::int64_t const block = test::tiny ? 64 : 1024;
    std::int64_t const most = test::tiny ? 300 : 10007;
    for (std::int64_t const n : {std::int64_t{0}, std::int64_t{1}, std::int64_t{100}, 4 * block, most}) {
        Floats const values = random_floats(n, 9);
        std::vector<double> sums(static_cast<std::size_t>((n + block - 1) / block), -1);
        emulated().block_sums_of_squares(sums.data(), view(values, {n}), block, emulated_stream());
        for (std::size_t b = 0; b < sums.size(); ++b) {
            double wanted = 0;
            for (std::int64_t i = static_cast<std::int64_t>(b) * block;
                 i < std::min(n, static_cast<std::int64_t>(b + 1) * block); ++i) {
                double const x = values[static_cast<std::size_t>(i)];
                wanted += x * x;
            }
            EXPECT_NEAR(sums[b], wanted, 1024 * 1e-16 * wanted);
        }
    }
}

// A shard has the sums of the whole, wherever its memory begins.
TEST(EmulatedAdamW, ABlocksSumIsTheSameAnywhere) {
    std::int64_t const block = test::tiny ? 64 : 1088, n = 2 * block + 13;
    Floats values = random_floats(n, 9);
    std::vector<double> all(3), shifted(3), part(2);
    emulated().block_sums_of_squares(all.data(), view(values, {n}), block, emulated_stream());
    emulated().block_sums_of_squares(part.data(), view(values, {n}).rows(block, n), block, emulated_stream());
    values.insert(values.begin(), 5.0F);
    emulated().block_sums_of_squares(shifted.data(), view(values, {n + 1}).rows(1, n + 1), block, emulated_stream());
    EXPECT_EQ(shifted, all);
    EXPECT_EQ(part[0], all[1]);
    EXPECT_EQ(part[1], all[2]);
}

}  // namespace
}  // namespace selvage::kernels

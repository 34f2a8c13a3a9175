// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw.h"

#include <cmath>

#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::Floats;
using test::random_floats;
using test::view;

TEST(AdamW, FollowsTheFormula) {
    Stream stream(DeviceKind::cpu);
    for (std::int64_t const n : {0, 16, 48, 20016}) {
        Floats values = random_floats(n, 1);
        Floats first(values.size()), second(values.size());
        std::vector<double> w(values.begin(), values.end()), m(values.size()), v(values.size());
        AdamWStep step{.learning_rate = 1e-2F, .weight_decay = 0.1F, .gradient_scale = 0.5F};
        for (step.step = 1; step.step <= 4; ++step.step) {
            Floats const gradient = random_floats(n, static_cast<std::uint32_t>(step.step + 1));
            adamw_update(view(values, {n}), view(first, {n}), view(second, {n}), view(gradient, {n}), step, stream);
            double const b1 = step.beta1;
            double const b2 = step.beta2;
            auto const t = static_cast<double>(step.step);
            for (std::size_t i = 0; i < w.size(); ++i) {
                double const g = gradient[i] * 0.5;
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                double const update = m[i] / (1 - std::pow(b1, t)) /
                                      (std::sqrt(v[i] / (1 - std::pow(b2, t))) + static_cast<double>(step.epsilon));
                w[i] -=
                    static_cast<double>(step.learning_rate) * (update + static_cast<double>(step.weight_decay) * w[i]);
                // An update is at most about 1 in size with some ten roundings, and moments cancel; the value's own
                // rounding beside it.
                ASSERT_NEAR(values[i], w[i], t * (100 * epsilon_f32 * 1e-2 + 2 * epsilon_f32)) << i;
                ASSERT_NEAR(first[i], m[i], t * 4 * epsilon_f32);
                ASSERT_NEAR(second[i], v[i], t * 4 * epsilon_f32);
            }
        }
    }
}

TEST(AdamW, EveryElementByTheSameCode) {
    Stream stream(DeviceKind::cpu);
    Floats values(4096, 0.3F), first(4096, 0.01F), second(4096, 0.002F);
    Floats const gradient(4096, 0.7F);
    adamw_update(view(values, {4096}), view(first, {4096}), view(second, {4096}), view(gradient, {4096}),
                 {.learning_rate = 1e-3F, .step = 3}, stream);
    for (float const value : values) ASSERT_EQ(value, values[0]);
}

TEST(AdamW, BlockSumsOfSquares) {
    Stream stream(DeviceKind::cpu);
    for (std::int64_t const n : {0, 1, 100, 4096, 10007}) {
        std::int64_t const block = 1024;
        Floats const values = random_floats(n, 9);
        std::vector<double> sums(static_cast<std::size_t>((n + block - 1) / block), -1);
        block_sums_of_squares(sums.data(), view(values, {n}), block, stream);
        for (std::size_t b = 0; b < sums.size(); ++b) {
            double wanted = 0;
            for (std::int64_t i = static_cast<std::int64_t>(b) * block;
                 i < std::min(n, static_cast<std::int64_t>(b + 1) * block); ++i)
                wanted +=
                    static_cast<double>(values[static_cast<std::size_t>(i)]) * values[static_cast<std::size_t>(i)];
            EXPECT_NEAR(sums[b], wanted, 1024 * 1e-16 * wanted);
        }
    }
}

}  // namespace
}  // namespace selvage::kernels

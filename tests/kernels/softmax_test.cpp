// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::Floats;
using test::random_floats;
using test::view;

class Softmax : public testing::TestWithParam<std::int64_t> {
  protected:
    static constexpr std::int64_t rows = 4;
    Stream stream{DeviceKind::cpu};
    std::int64_t n = GetParam();
    Floats logits = random_floats(rows * n, 1, 12);
    Floats total = Floats(rows);

    void SetUp() override { log_sum_exp(view(total, {rows}), view(logits, {rows, n}), stream); }
    float logit(std::int64_t row, std::int64_t i) const { return logits[static_cast<std::size_t>(row * n + i)]; }
    double exact(std::int64_t row) const {
        double sum = 0;
        for (std::int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logit(row, i)));
        return std::log(sum);
    }
    // A sum of n positive terms of about 2 ulp each, with rounded arguments up to 24, then a logarithm up to 32.
    double tolerance() const { return (static_cast<double>(n) / 16 + 24 + 32 + 16) * epsilon_f32; }
};

TEST_P(Softmax, LogSumExpAndTargets) {
    std::vector<std::int32_t> const targets = {0, static_cast<std::int32_t>(n - 1), static_cast<std::int32_t>(n / 2),
                                               0};
    Floats log_probability(rows);
    target_log_probability(view(log_probability, {rows}), view(logits, {rows, n}), view(total, {rows}), view(targets),
                           stream);
    for (std::int64_t row = 0; row < rows; ++row) {
        auto const r = static_cast<std::size_t>(row);
        EXPECT_NEAR(total[r], exact(row), tolerance());
        EXPECT_EQ(log_probability[r], logit(row, targets[r]) - total[r]);
    }
}

TEST_P(Softmax, ArgmaxTakesTheLowestOfEqualLogits) {
    std::vector<std::int32_t> best(rows);
    argmax(view(best), view(logits, {rows, n}), n, stream);
    for (std::int64_t row = 0; row < rows; ++row) {
        auto const first = logits.begin() + row * n;
        EXPECT_EQ(best[static_cast<std::size_t>(row)], std::max_element(first, first + n) - first);
    }
    Floats const same(logits.size(), -3.0F);
    argmax(view(best), view(same, {rows, n}), n, stream);
    EXPECT_EQ(best, std::vector<std::int32_t>(rows, 0));
}

TEST_P(Softmax, OnlyTheFirstIdsAreChosen) {
    std::int64_t const ids = (n + 1) / 2;
    Floats high = logits;
    for (std::int64_t row = 0; row < rows; ++row)
        std::fill(high.begin() + row * n + ids, high.begin() + (row + 1) * n, 500.0F);
    std::vector<std::int32_t> best(rows);
    argmax(view(best), view(high, {rows, n}), ids, stream);
    std::vector<std::int64_t> weights(high.size(), -1);
    fixed_point_weights(TensorView::of(weights.data(), {rows, n}), view(high, {rows, n}), ids, 1.0F, stream);
    for (std::int64_t row = 0; row < rows; ++row) {
        auto const first = logits.begin() + row * n;
        std::int64_t const wanted = std::max_element(first, first + ids) - first;
        EXPECT_EQ(best[static_cast<std::size_t>(row)], wanted);
        EXPECT_EQ(weights[static_cast<std::size_t>(row * n + wanted)], std::int64_t{1} << 40);
        for (std::int64_t i = ids; i < n; ++i) ASSERT_EQ(weights[static_cast<std::size_t>(row * n + i)], 0) << i;
    }
}

TEST_P(Softmax, FixedPointWeights) {
    std::vector<std::int64_t> weights(logits.size());
    float const temperature = 0.7F;
    fixed_point_weights(TensorView::of(weights.data(), {rows, n}), view(logits, {rows, n}), n, temperature, stream);
    double const one = 0x1p40;
    for (std::int64_t row = 0; row < rows; ++row) {
        float const largest = *std::max_element(logits.begin() + row * n, logits.begin() + (row + 1) * n);
        for (std::int64_t i = 0; i < n; ++i) {
            auto const got = static_cast<double>(weights[static_cast<std::size_t>(row * n + i)]);
            double const argument = (static_cast<double>(logit(row, i)) - largest) / static_cast<double>(temperature);
            double const wanted = std::exp(argument) * one;
            ASSERT_NEAR(got, wanted, 1 + wanted * (2 * std::abs(argument) + 4) * epsilon_f32);
            if (logit(row, i) == largest) {
                ASSERT_EQ(got, one);
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Softmax, testing::Values(1, 7, 16, 1000, 1024, 1025, 5003));

TEST(Softmax, MaskedLogits) {
    Stream stream(DeviceKind::cpu);
    std::int64_t const n = 2500;
    float const minus_infinity = -std::numeric_limits<float>::infinity();
    Floats logits(static_cast<std::size_t>(n), minus_infinity);  // the first whole block is masked
    logits[2000] = 1.5F;
    Floats total(1);
    log_sum_exp(view(total, {1}), view(logits, {1, n}), stream);
    EXPECT_EQ(total[0], 1.5F);
    std::vector<std::int64_t> weights(logits.size(), -1);
    fixed_point_weights(TensorView::of(weights.data(), {1, n}), view(logits, {1, n}), n, 1.0F, stream);
    for (std::size_t i = 0; i < weights.size(); ++i) ASSERT_EQ(weights[i], i == 2000 ? std::int64_t{1} << 40 : 0);
}

}  // namespace
}  // namespace selvage::kernels

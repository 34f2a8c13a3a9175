// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/table.h"
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

TEST_P(Softmax, LogSumExpIsThatOfTheHeader) {
    auto const exp_of = [](float x) {
        kernel_table().row_exp(&x, &x, 1);
        return x;
    };
    for (std::int64_t row = 0; row < rows; ++row) {
        float most = -std::numeric_limits<float>::infinity(), sum = 0;
        for (std::int64_t begin = 0; begin < n; begin += vocabulary_block) {
            std::int64_t const end = std::min(n, begin + vocabulary_block);
            float block_most = logit(row, begin);
            for (std::int64_t i = begin; i < end; ++i) block_most = std::max(block_most, logit(row, i));
            float lanes[16] = {};
            for (std::int64_t i = begin; i < end; ++i) lanes[(i - begin) % 16] += exp_of(logit(row, i) - block_most);
            for (int step = 8; step > 0; step /= 2)
                for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
            float const next = std::max(most, block_most);
            sum = std::fma(sum, exp_of(most - next), lanes[0] * exp_of(block_most - next));
            most = next;
        }
        kernel_table().row_log(&sum, &sum, 1);
        ASSERT_EQ(total[static_cast<std::size_t>(row)], most + sum);
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
    for (std::int64_t row = 0; row < rows; ++row) {
        auto const first = logits.begin() + row * n;
        EXPECT_EQ(best[static_cast<std::size_t>(row)], std::max_element(first, first + ids) - first);
    }
}

TEST_P(Softmax, SamplingWeights) {
    std::int64_t const blocks = (n + vocabulary_block - 1) / vocabulary_block;
    Floats weights(static_cast<std::size_t>(n + 15)), lane_maxima(static_cast<std::size_t>(16 * blocks));
    std::vector<std::int64_t> totals(static_cast<std::size_t>(blocks)), again(totals.size());
    double const one = 0x1p40;
    for (float const temperature : {0.7F, 1.0F, 1e-7F})
        for (std::int64_t row = 0; row < rows; ++row) {
            float const* const x = logits.data() + row * n;
            WeightsOfRow of_row{
                x, n, *std::max_element(x, x + n), temperature, totals.data(), weights.data(), lane_maxima.data()};
            kernel_table().row_weights(of_row);
            std::vector<std::int64_t> sums(totals.size());
            Floats maxima(lane_maxima.size());
            for (std::int64_t i = 0; i < n; ++i) {
                float const got = weights[static_cast<std::size_t>(i)];
                double const argument = (static_cast<double>(x[i]) - of_row.max) / static_cast<double>(temperature);
                double const wanted = std::exp(argument) * one;
                ASSERT_NEAR(got, wanted, 1 + wanted * (2 * std::abs(argument) + 4) * epsilon_f32);
                ASSERT_EQ(got, std::trunc(got));
                if (x[i] == of_row.max) {
                    ASSERT_EQ(got, one);
                }
                sums[static_cast<std::size_t>(i / vocabulary_block)] += static_cast<std::int64_t>(got);
                float& most = maxima[static_cast<std::size_t>(i / vocabulary_block * 16 + i % 16)];
                most = std::max(most, got);
            }
            EXPECT_EQ(totals, sums);
            EXPECT_EQ(lane_maxima, maxima);
            of_row.weights = of_row.lane_maxima = nullptr;
            of_row.block_totals = again.data();
            kernel_table().row_weights(of_row);
            EXPECT_EQ(again, totals);
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
    std::vector<std::int64_t> totals(3);
    Floats weights(logits.size() + 15, -1);
    for (float const temperature : {1.0F, 0.5F, 1e-10F}) {
        kernel_table().row_weights({logits.data(), n, 1.5F, temperature, totals.data(), weights.data(), nullptr});
        EXPECT_EQ(totals, (std::vector<std::int64_t>{0, std::int64_t{1} << 40, 0}));
        for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(weights[static_cast<std::size_t>(i)], i == 2000 ? 0x1p40F : 0);
    }
}

TEST(Softmax, LogSumExpIsNotANumberWhereALogitIsNot) {
    Stream stream(DeviceKind::cpu);
    Floats logits(1500, 1.0F), total(1);
    logits[700] = std::numeric_limits<float>::quiet_NaN();
    log_sum_exp(view(total, {1}), view(logits, {1, 1500}), stream);
    EXPECT_TRUE(std::isnan(total[0]));
}

}  // namespace
}  // namespace selvage::kernels

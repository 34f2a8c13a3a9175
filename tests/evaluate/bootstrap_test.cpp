// SPDX-License-Identifier: Apache-2.0
#include "evaluate/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/philox.h"
#include "evaluate/position_bins.h"

namespace selvage {
namespace {

// Box-Muller normal numbers of mean 0 and deviation 1.
double normal(std::uint32_t experiment, std::uint32_t i, std::uint8_t which) {
    Random const random(77, Purpose::test);
    double const u = random.uniform({experiment, i, 0, 0, which, 0});
    double const v = random.uniform({experiment, i, 0, 0, which, 1});
    return std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * M_PI * v);
}

RatioSeries means(std::vector<double> values) {
    std::vector<double> ones(values.size(), 1.0);
    return {std::move(values), std::move(ones)};
}

TEST(Bootstrap, QuantileInterpolates) {
    std::vector<double> const values = {1, 2, 4, 8};
    EXPECT_EQ(quantile(values, 0), 1);
    EXPECT_EQ(quantile(values, 1), 8);
    EXPECT_EQ(quantile(values, 0.5), 3);
    EXPECT_EQ(quantile(values, 0.25), 1.75);
    EXPECT_TRUE(std::isnan(quantile({}, 0.5)));
}

TEST(Bootstrap, WidthIsThatOfTheStandardError) {
    std::vector<double> values;
    for (std::uint32_t i = 0; i < 400; ++i) values.push_back(normal(1000, i, 0));
    double mean = 0, square = 0;
    for (double v : values) mean += v / 400;
    for (double v : values) square += (v - mean) * (v - mean) / 400;
    RatioSeries const series[] = {means(values)};
    Estimate const e = bootstrap_ratios(series, 400, 5)[0];
    EXPECT_NEAR(e.value, mean, 1e-14);
    // The bootstrap distribution of a mean is nearly normal with deviation s / sqrt(n); a 2.5% quantile of 2000 draws
    // has a relative error of about 3.3% of 1.96 (sqrt(p (1 - p) / 2000) over the density), times 4 for certainty.
    double const half = 1.96 * std::sqrt(square / 400);
    EXPECT_NEAR(e.high - mean, half, 0.14 * half);
    EXPECT_NEAR(mean - e.low, half, 0.14 * half);
}

TEST(Bootstrap, IntervalCoversTheTruth) {
    int covered = 0;
    int const experiments = 300;
    for (int x = 0; x < experiments; ++x) {
        std::vector<double> values;
        for (std::uint32_t i = 0; i < 60; ++i) values.push_back(3 + normal(static_cast<std::uint32_t>(x), i, 0));
        RatioSeries const series[] = {means(values)};
        Estimate const e = bootstrap_ratios(series, 60, static_cast<std::uint64_t>(x), 400)[0];
        covered += e.low <= 3 && 3 <= e.high;
    }
    // True coverage is a little below 95% at n = 60 (about 94%); 3 binomial deviations of 300 are 4 points.
    EXPECT_GT(covered, 0.90 * experiments);
    EXPECT_LT(covered, 0.985 * experiments);
}

TEST(Bootstrap, PairedDifferencesAreNarrower) {
    std::vector<double> a, b, difference;
    for (std::uint32_t i = 0; i < 200; ++i) {
        double const common = normal(1, i, 0);
        a.push_back(common + 0.1 * normal(1, i, 1));
        b.push_back(common + 0.1 * normal(1, i, 2));
        difference.push_back(a.back() - b.back());
    }
    RatioSeries const series[] = {means(a), means(b), means(difference)};
    auto const e = bootstrap_ratios(series, 200, 1);
    EXPECT_NEAR(e[2].value, e[0].value - e[1].value, 1e-14);
    // Deviations 1 and 0.14: the paired interval is about a seventh of either.
    EXPECT_LT(e[2].high - e[2].low, 0.25 * (e[0].high - e[0].low));
}

TEST(Bootstrap, IsAFunctionOfTheSeed) {
    std::vector<double> values;
    for (std::uint32_t i = 0; i < 50; ++i) values.push_back(normal(2, i, 0));
    RatioSeries const one[] = {means(values)};
    RatioSeries const two[] = {means(std::vector<double>(50, 1.0)), means(values)};
    Estimate const a = bootstrap_ratios(one, 50, 9)[0];
    Estimate const b = bootstrap_ratios(two, 50, 9)[1];
    Estimate const c = bootstrap_ratios(one, 50, 10)[0];
    EXPECT_EQ(a.low, b.low);
    EXPECT_EQ(a.high, b.high);
    EXPECT_NE(a.low, c.low);
}

TEST(Bootstrap, RatiosOfSumsAndNothing) {
    RatioSeries const series[] = {{{2, 0, 4}, {1, 0, 3}}, {{0, 0, 0}, {0, 0, 0}}, {{5, 5, 5}, {2, 2, 2}}};
    auto const e = bootstrap_ratios(series, 3, 1);
    EXPECT_EQ(e[0].value, 1.5);
    // The extreme resamples: the first example alone (2), the third alone (4/3); the second never counts.
    EXPECT_EQ(e[0].high, 2);
    EXPECT_EQ(e[0].low, 4.0 / 3);
    EXPECT_TRUE(std::isnan(e[1].value) && std::isnan(e[1].low) && std::isnan(e[1].high));
    EXPECT_EQ(e[2].value, 2.5);
    EXPECT_EQ(e[2].low, 2.5);
    EXPECT_EQ(e[2].high, 2.5);
    RatioSeries const empty[] = {{{}, {}}};
    EXPECT_TRUE(std::isnan(bootstrap_ratios(empty, 0, 1)[0].value));
}

TEST(PositionBins, WidthsDoubleFromEight) {
    PositionBins const bins(4);
    std::int64_t const begins[] = {0, 8, 24, 56};
    for (std::int64_t b = 0; b < 4; ++b) EXPECT_EQ(bins.begin(b), begins[b]);
    for (std::int64_t position = 0; position < 500; ++position) {
        std::int64_t expected = 3;
        while (begins[expected] > position) --expected;
        EXPECT_EQ(bins.bin_of(position), expected) << position;
    }
}

}  // namespace
}  // namespace selvage

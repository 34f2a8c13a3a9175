// SPDX-License-Identifier: Apache-2.0
#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/philox.h"

namespace selvage {
namespace {

using Weights = std::vector<std::int64_t>;

std::uint64_t bits_of(std::uint32_t test, std::uint32_t draw) { return Random(7, Purpose::test).bits({test, draw, 0}); }

// The definition, with a full sort and rational arithmetic on small integers: which ids stay.
std::vector<bool> kept_by_sorting(Weights const& weights, std::int64_t top_k, std::int64_t p_numerator,
                                  std::int64_t p_denominator) {
    std::vector<std::size_t> order(weights.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
    if (top_k > 0 && top_k < static_cast<std::int64_t>(order.size())) order.resize(static_cast<std::size_t>(top_k));
    std::int64_t total = 0;
    for (std::size_t const id : order) total += weights[id];
    std::vector<bool> kept(weights.size());
    std::int64_t sum = 0;
    for (std::size_t const id : order) {
        if (sum > 0 && sum * p_denominator >= total * p_numerator) break;
        kept[id] = true;
        sum += weights[id];
    }
    return kept;
}

// The token that a target of the inverse distribution function hits, by the plain definition.
Token hit(Weights const& weights, std::vector<bool> const& kept, std::uint64_t bits) {
    std::int64_t total = 0;
    for (std::size_t id = 0; id < weights.size(); ++id) total += kept[id] ? weights[id] : 0;
    // floor(bits * total / 2^64) by long multiplication in halves of 32 bits.
    std::uint64_t const low = bits & 0xFFFFFFFF, high = bits >> 32;
    auto const total_low = static_cast<std::uint64_t>(total) & 0xFFFFFFFF;
    auto const total_high = static_cast<std::uint64_t>(total) >> 32;
    std::uint64_t const middle = high * total_low + (low * total_low >> 32);
    std::uint64_t const other = low * total_high + (middle & 0xFFFFFFFF);
    auto const target = static_cast<std::int64_t>(high * total_high + (middle >> 32) + (other >> 32));
    std::int64_t sum = 0;
    for (std::size_t id = 0; id < weights.size(); ++id) {
        sum += kept[id] ? weights[id] : 0;
        if (sum > target) return static_cast<Token>(id);
    }
    return -1;
}

TEST(Sampler, CutsEqualASortedReference) {
    // p as eighths: exact in binary, so that sums that meet the share exactly occur; few distinct weights give ties.
    for (std::uint32_t test = 0; test < 4000; ++test) {
        Random const random(11, Purpose::test);
        auto const word = [&](std::uint32_t i, std::uint32_t below) { return random.words({test, i, 1})[0] % below; };
        std::size_t const size = 1 + word(0, 40);
        std::uint32_t const distinct = 1 + word(1, 9);
        Weights weights(size);
        for (std::size_t i = 0; i < size; ++i)
            weights[i] = std::int64_t{word(static_cast<std::uint32_t>(10 + i), distinct)} * (1 + word(2, 3) * 37);
        weights[word(3, static_cast<std::uint32_t>(size))] = 400;
        // Up to the size of real weights: 400 * 2^31 is below 2^40.
        std::uint32_t const shift = 10 * word(6, 4);
        for (std::int64_t& weight : weights) weight <<= shift;
        std::int64_t const top_k = word(4, static_cast<std::uint32_t>(size) + 2);
        std::int64_t const eighths = 1 + word(5, 8);
        SamplerOptions const options{1.0, static_cast<double>(eighths) / 8, top_k};
        std::vector<bool> const kept = kept_by_sorting(weights, top_k, eighths, 8);
        std::int64_t total = 0;
        for (std::size_t id = 0; id < size; ++id) total += kept[id] ? weights[id] : 0;
        for (std::uint32_t draw = 0; draw < 8; ++draw) {
            std::uint64_t const bits = draw == 0 ? 0 : draw == 1 ? ~std::uint64_t{0} : bits_of(test, draw);
            SampledToken const sampled = sample_token(weights, options, bits);
            ASSERT_EQ(sampled.token, hit(weights, kept, bits)) << "test " << test << " draw " << draw;
            auto const weight = static_cast<double>(weights[static_cast<std::size_t>(sampled.token)]);
            ASSERT_EQ(sampled.sampled_logprob, static_cast<float>(std::log(weight / static_cast<double>(total))));
        }
    }
}

TEST(Sampler, WholeSupportOfACut) {
    // Every kept token and no other is drawn by some bits: cuts through ties keep the lower ids.
    Weights const weights = {5, 9, 5, 1, 5, 9, 5};
    auto const support = [&](SamplerOptions const& options) {
        std::vector<Token> tokens;
        for (std::uint64_t i = 0; i < 256; ++i) tokens.push_back(sample_token(weights, options, i << 56).token);
        std::sort(tokens.begin(), tokens.end());
        tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
        return tokens;
    };
    EXPECT_EQ(support({1, 1, 0}), (std::vector<Token>{0, 1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(support({1, 1, 4}), (std::vector<Token>{0, 1, 2, 5}));
    EXPECT_EQ(support({1, 1, 1}), (std::vector<Token>{1}));
    EXPECT_EQ(support({1, 0.5, 0}), (std::vector<Token>{0, 1, 5}));        // 9 + 9 + 5 = 23 of 39, 18 < 20
    EXPECT_EQ(support({1, 18.0 / 39, 0}), (std::vector<Token>{0, 1, 5}));  // this double is above 18/39
    EXPECT_EQ(support({1, 0.46, 0}), (std::vector<Token>{1, 5}));
    EXPECT_EQ(support({1, 0.5, 2}), (std::vector<Token>{1}));  // of the 18 that top-k left, 9 are enough
    EXPECT_EQ(support({1, 0.0, 0}), (std::vector<Token>{1}));
}

TEST(Sampler, ShareIsComparedExactly) {
    // total = 2^61: doubles would lose the difference of 1.
    std::int64_t const half = std::int64_t{1} << 60;
    auto const last = [](Weights const& weights) {
        return sample_token(weights, {1, 0.5, 0}, ~std::uint64_t{0}).token;
    };
    EXPECT_EQ(last({half, half - 1, 1}), 0);
    EXPECT_EQ(last({half - 1, half - 1, 2}), 1);
}

TEST(Sampler, ChiSquareAgainstExactProbabilities) {
    Weights weights;
    for (int i = 0; i < 40; ++i)
        weights.push_back(static_cast<std::int64_t>(std::ldexp(std::exp(-0.15 * ((i * 17) % 40)), 40)));
    auto const statistic = [&](SamplerOptions const& options, std::vector<bool> const& kept, std::uint32_t seed) {
        double total = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) total += kept[i] ? static_cast<double>(weights[i]) : 0;
        std::uint32_t const draws = 40000;
        std::vector<double> counts(weights.size());
        for (std::uint32_t i = 0; i < draws; ++i)
            counts[static_cast<std::size_t>(sample_token(weights, options, bits_of(seed, i)).token)] += 1;
        double sum = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) {
            double const expected = kept[i] ? draws * static_cast<double>(weights[i]) / total : 0;
            if (expected == 0) {
                EXPECT_EQ(counts[i], 0) << i;
                continue;
            }
            sum += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        return sum;
    };
    std::vector<bool> const all(weights.size(), true);
    // Below the 0.999 quantiles of chi-square with 39 and 9 degrees of freedom (72.1, 27.9), and not suspiciously low.
    double const free = statistic({1, 1, 0}, all, 1);
    EXPECT_LT(free, 72.1);
    EXPECT_GT(free, 16.3);
    std::vector<bool> top(weights.size());
    for (std::size_t i = 0; i < weights.size(); ++i) top[i] = (i * 17) % 40 < 10;
    EXPECT_LT(statistic({1, 1, 10}, top, 2), 27.9);
}

TEST(Sampler, TemperatureZeroTakesTheLargest) {
    SampledToken const sampled = sample_token(Weights{3, 8, 1, 8}, {0, 0.3, 2}, 12345);
    EXPECT_EQ(sampled.token, 1);
    EXPECT_EQ(sampled.sampled_logprob, 0.0F);
}

TEST(Sampler, ZeroWeightsAreNeverDrawn) {
    Weights const weights = {0, 0, 6, 0, 2, 0};
    for (std::uint64_t i = 0; i < 64; ++i) {
        Token const token = sample_token(weights, {1, 1, 4}, i << 58).token;
        EXPECT_EQ(token, i < 48 ? 2 : 4);
    }
    EXPECT_EQ(sample_token(weights, {1, 1, 0}, ~std::uint64_t{0}).token, 4);
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
// The plain definition of sampling (sampler_reference.h) against sorting and exact probabilities, and the kernel
// against the plain definition, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/philox.h"
#include "generate/sampler_reference.h"
#include "kernels/sampling.h"
#include "kernels/softmax.h"
#include "kernels/threads.h"

namespace selvage {
namespace {

using test::sample_token;
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

// Rows of logits of many shapes: flat, peaked, with ties (rounded to a grid), masked, all equal, tiny, huge.
std::vector<float> random_logits(std::uint32_t test, std::size_t rows, std::size_t vocabulary) {
    Random const random(12, Purpose::test);
    std::vector<float> logits(rows * vocabulary);
    float const infinity = std::numeric_limits<float>::infinity();
    for (std::size_t row = 0; row < rows; ++row) {
        auto const kind = (test + row) % 8;
        double const scale = std::vector<double>{0.1, 1, 4, 12, 4, 1, 1e-30, 3e4}[kind];
        for (std::size_t i = 0; i < vocabulary; ++i) {
            double const u =
                random.uniform({test, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(i)}) + 1e-12;
            float x = static_cast<float>(-std::log(u) * scale);  // a long tail upwards
            if (kind == 4) x = std::round(2 * x) / 2;
            if (kind == 5) x = i % 3 == 1 ? -infinity : std::round(x);
            if (test % 5 == 4 && kind == 1) x = 2.5F;
            logits[row * vocabulary + i] = x;
        }
    }
    return logits;
}

std::vector<kernels::Sampling> samplings(std::uint32_t test, std::size_t rows, std::int64_t vocabulary) {
    std::vector<double> const temperatures = {1, 0.7, 1.3, 1, 0.05, 30, 1e-25, 1e-60, 0};
    std::vector<double> const shares = {1, 0.9, 0.5, 0.999, 0, 0.3, 0.99999999};
    std::vector<std::int64_t> const counts = {0, 50, 1, 3, vocabulary / 3, vocabulary - 1, vocabulary, 700};
    Random const random(13, Purpose::test);
    std::vector<kernels::Sampling> all;
    for (std::uint32_t row = 0; row < rows; ++row) {
        auto const words = random.words({test, row, 1});
        bool const plain = words[3] % 4 == 0;
        std::uint64_t const bits = random.bits({test, row, 2});
        all.push_back({temperatures[words[0] % temperatures.size()], plain ? 1 : shares[words[1] % shares.size()],
                       plain ? 0 : counts[words[2] % counts.size()],
                       words[3] % 16 == 1   ? 0
                       : words[3] % 16 == 2 ? ~std::uint64_t{0}
                                            : bits});
    }
    return all;
}

SampledToken by_definition(std::span<float const> logits, std::size_t ids, kernels::Sampling const& draw) {
    auto const temperature = static_cast<float>(draw.temperature);
    if (temperature == 0) {
        auto const end = logits.begin() + static_cast<std::ptrdiff_t>(ids);
        return {static_cast<Token>(std::max_element(logits.begin(), end) - logits.begin()), 0.0F};
    }
    return sample_token(test::whole_weights(logits, ids, temperature), {temperature, draw.top_p, draw.top_k},
                        draw.bits);
}

TEST(Sampler, DrawsWhatThePlainDefinitionDraws) {
    Stream stream(DeviceKind::cpu);
    std::int64_t compared = 0;
    for (std::int64_t const vocabulary : {1, 15, 1000, 1024, 3000, 20011}) {
        for (std::uint32_t test = 0; test < (vocabulary > 10000 ? 12U : 40U); ++test) {
            std::int64_t const rows = 16;
            std::int64_t const ids = test % 3 == 0 ? vocabulary : vocabulary - vocabulary / 7;
            auto const logits = random_logits(test, rows, static_cast<std::size_t>(vocabulary));
            auto const draws = samplings(test, rows, vocabulary);
            TensorView const view = TensorView::of(logits.data(), {rows, vocabulary});
            std::vector<float> expected_sums(rows);
            kernels::log_sum_exp(TensorView::of(expected_sums.data(), {rows}), view, stream);
            std::vector<SampledToken> expected;
            for (std::size_t row = 0; row < draws.size(); ++row)
                expected.push_back(by_definition(std::span(logits).subspan(row * static_cast<std::size_t>(vocabulary),
                                                                           static_cast<std::size_t>(vocabulary)),
                                                 static_cast<std::size_t>(ids), draws[row]));
            for (std::int64_t const threads : {1, 2, 3}) {
                kernels::set_threads(threads);
                std::vector<Token> tokens(rows, -7);
                std::vector<float> logprob(rows, 7), sums(rows, 7);
                // With and without the log-sum-exp in the same pass.
                TensorView const wanted = threads == 3 ? TensorView() : TensorView::of(sums.data(), {rows});
                kernels::sample(TensorView::of(tokens.data(), {rows}), TensorView::of(logprob.data(), {rows}), wanted,
                                view, ids, draws, stream);
                EXPECT_EQ(sums, threads == 3 ? std::vector<float>(rows, 7) : expected_sums);
                for (std::size_t row = 0; row < draws.size(); ++row) {
                    ASSERT_EQ(tokens[row], expected[row].token)
                        << "vocabulary " << vocabulary << " test " << test << " row " << row;
                    ASSERT_EQ(logprob[row], expected[row].sampled_logprob);
                    ++compared;
                }
            }
        }
    }
    kernels::set_threads(1);
    EXPECT_GT(compared, 9000);
}

TEST(Sampler, RowsThatAreNotFiniteDrawNothing) {
    Stream stream(DeviceKind::cpu);
    std::vector<float> logits(3 * 50, 1.0F);
    logits[20] = std::numeric_limits<float>::quiet_NaN();
    logits[120] = std::numeric_limits<float>::infinity();
    std::vector<Token> tokens(3, -7);
    std::vector<float> logprob(3), sums(3);
    std::vector<kernels::Sampling> const draws(3, {.bits = ~std::uint64_t{0}});
    kernels::sample(TensorView::of(tokens.data(), {3}), TensorView::of(logprob.data(), {3}),
                    TensorView::of(sums.data(), {3}), TensorView::of(logits.data(), {3, 50}), 50, draws, stream);
    EXPECT_EQ(tokens, (std::vector<Token>{0, 49, 0}));
    EXPECT_FALSE(std::isfinite(sums[0]));
    EXPECT_FALSE(std::isfinite(sums[2]));
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
// Schedules and coins. Rates over many draws must lie within five standard deviations.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "weave/bash.h"

namespace selvage::weave {
namespace {

BashOptions scheduled(BashSchedule schedule, double start = 0.125, double end = 0.75) {
    BashOptions options;
    options.schedule = schedule;
    options.rate = 0.3;
    options.rate_start = start;
    options.rate_end = end;
    return options;
}

BashOptions constant(double rate, BashUnit unit = BashUnit::token, double mean = 4) {
    BashOptions options;
    options.rate = rate;
    options.unit = unit;
    options.span_mean = mean;
    return options;
}

TEST(Schedule, Progress) {
    EXPECT_EQ(schedule_progress(1, 1), 0);
    EXPECT_EQ(schedule_progress(2, 1), 1);
    EXPECT_EQ(schedule_progress(1, 5), 0);
    EXPECT_EQ(schedule_progress(2, 5), 0.25);
    EXPECT_EQ(schedule_progress(5, 5), 1);
    EXPECT_EQ(schedule_progress(9, 5), 1);
}

TEST(Schedule, EndsAndMonotony) {
    for (auto schedule : {BashSchedule::linear, BashSchedule::exponential, BashSchedule::inverse_sigmoid}) {
        for (auto [start, end] : {std::pair(0.125, 0.75), std::pair(0.9, 0.1), std::pair(0.0, 1.0)}) {
            BashOptions const options = scheduled(schedule, start, end);
            EXPECT_EQ(bash_rate(options, 0), start);
            EXPECT_EQ(bash_rate(options, 1), end);
            double last = start;
            for (int i = 1; i <= 100; ++i) {
                double const rate = bash_rate(options, i / 100.0);
                EXPECT_TRUE(end > start ? rate > last : rate < last) << i;
                last = rate;
            }
        }
    }
    for (double s : {0.0, 0.5, 1.0}) EXPECT_EQ(bash_rate(scheduled(BashSchedule::constant), s), 0.3);
}

TEST(Schedule, ShapesInBetween) {
    EXPECT_DOUBLE_EQ(bash_rate(scheduled(BashSchedule::linear, 0, 1), 0.25), 0.25);
    EXPECT_NEAR(bash_rate(scheduled(BashSchedule::inverse_sigmoid, 0, 1), 0.5), 0.5, 1e-15);
    // f = (k^s - k)/(1 - k), e = 1 - f, written out for k = 0.05 (the default) and k = 0.5.
    BashOptions options = scheduled(BashSchedule::exponential, 0, 1);
    EXPECT_NEAR(bash_rate(options, 0.5), 1 - (std::sqrt(0.05) - 0.05) / 0.95, 1e-15);
    options.k = 0.5;
    EXPECT_NEAR(bash_rate(options, 0.5), 1 - (std::sqrt(0.5) - 0.5) / 0.5, 1e-15);
    // h(s) = 1/(1 + exp(k (s - 1/2))) with the default k = 10.
    auto const h = [](double s) { return 1 / (1 + std::exp(10 * (s - 0.5))); };
    EXPECT_NEAR(bash_rate(scheduled(BashSchedule::inverse_sigmoid, 0, 1), 0.3), 1 - (h(0.3) - h(1)) / (h(0) - h(1)),
                1e-15);
}

TEST(Schedule, BadK) {
    BashOptions options = scheduled(BashSchedule::exponential);
    options.k = 1;
    EXPECT_THROW(bash_rate(options, 0.5), Error);
    options = scheduled(BashSchedule::inverse_sigmoid);
    options.k = -1;
    EXPECT_THROW(bash_rate(options, 0.5), Error);
}

// Coins of many examples, and what can be counted on them.
struct Counts {
    std::int64_t positions = 0, own = 0, spans = 0, first = 0;
    std::vector<std::int64_t> at;  // own coins at each position
};
Counts count(BashOptions const& options, std::int64_t examples, std::int64_t length) {
    Counts counts;
    counts.at.resize(static_cast<std::size_t>(length - 1));
    for (std::int64_t example = 0; example < examples; ++example) {
        auto const coins = bash_coins(options, 17, 1, 0, example, 0, length);
        EXPECT_EQ(static_cast<std::int64_t>(coins.size()), length - 1);
        for (std::size_t i = 0; i < coins.size(); ++i) {
            ++counts.positions;
            counts.own += coins[i];
            counts.at[i] += coins[i];
            counts.spans += coins[i] != 0 && (i == 0 || coins[i - 1] == 0) ? 1 : 0;
        }
    }
    return counts;
}

TEST(Coins, TokenRateIsBinomial) {
    for (double e : {0.05, 0.25, 0.5, 0.9}) {
        Counts const counts = count(constant(e), 400, 101);
        auto const n = static_cast<double>(counts.positions);
        EXPECT_NEAR(static_cast<double>(counts.own) / n, e, 5 * std::sqrt(e * (1 - e) / n)) << e;
        for (std::int64_t at : counts.at)
            EXPECT_NEAR(static_cast<double>(at) / 400, e, 5 * std::sqrt(e * (1 - e) / 400)) << e;
    }
}

TEST(Coins, SpanChainHasTheRateEverywhereAndTheMeanLength) {
    double const e = 0.3;
    double const m = 5;
    std::int64_t const examples = 2000;
    std::int64_t const length = 201;
    Counts const counts = count(constant(e, BashUnit::span, m), examples, length);
    // The chain starts stationary: the rate holds at every position, the first included.
    double const bound = 5 * std::sqrt(e * (1 - e) / static_cast<double>(examples));
    for (std::int64_t at : counts.at) EXPECT_NEAR(static_cast<double>(at) / static_cast<double>(examples), e, bound);
    // Neighbours are correlated with r = 1 - 1/m - enter: the variance of a sum grows by (1 + r)/(1 - r).
    double const r = 1 - 1 / m - e / (m * (1 - e));
    auto const n = static_cast<double>(counts.positions);
    EXPECT_NEAR(static_cast<double>(counts.own) / n, e, 5 * std::sqrt(e * (1 - e) / n * (1 + r) / (1 - r)));
    // Spans begin with probability e at the first position and (1 - e) enter = e/m at each later one.
    auto const rows = static_cast<double>(examples);
    double const expected = rows * (e + static_cast<double>(length - 2) * e / m);
    EXPECT_NEAR(static_cast<double>(counts.spans), expected, 5 * std::sqrt(expected));
}

TEST(Coins, EndsOfASpanAreGeometric) {
    // Over complete spans inside a long row, the mean length is m.
    double const m = 3;
    std::int64_t spans = 0, total = 0;
    for (std::int64_t example = 0; example < 200; ++example) {
        auto const coins = bash_coins(constant(0.25, BashUnit::span, m), 3, 1, 0, example, 0, 1001);
        std::int64_t run = 0;
        bool complete = false;  // a span already running at the first position is left out
        for (std::size_t i = 1; i < coins.size(); ++i) {
            if (coins[i] != 0) {
                if (coins[i - 1] == 0) complete = true;
                ++run;
            } else {
                if (run > 0 && complete) {
                    ++spans;
                    total += run;
                }
                run = 0;
                complete = false;
            }
        }
    }
    double const mean = static_cast<double>(total) / static_cast<double>(spans);
    // A geometric length of mean m has variance m (m - 1).
    EXPECT_NEAR(mean, m, 5 * std::sqrt(m * (m - 1) / static_cast<double>(spans)));
}

TEST(Coins, NoneAndAll) {
    for (auto unit : {BashUnit::token, BashUnit::span}) {
        Counts const none = count(constant(0, unit), 20, 50);
        EXPECT_EQ(none.own, 0);
    }
    Counts const all = count(constant(1), 20, 50);
    EXPECT_EQ(all.own, all.positions);
    EXPECT_TRUE(bash_coins(constant(1), 0, 1, 0, 0, 0, 1).empty());
    EXPECT_TRUE(bash_coins(constant(1), 0, 1, 0, 0, 0, 0).empty());
    // Spans of mean m cover m/(m + 1) at most: there the chain alternates between spans and single gold tokens.
    Counts const most = count(constant(0.8, BashUnit::span, 4), 50, 400);
    EXPECT_NEAR(static_cast<double>(most.own) / static_cast<double>(most.positions), 0.8, 0.02);
}

TEST(Coins, ImpossibleSpanChainNamesTheKeys) {
    for (double e : {0.81, 1.0}) {
        try {
            bash_coins(constant(e, BashUnit::span, 4), 0, 1, 0, 0, 0, 5);
            ADD_FAILURE() << e;
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), ExitCode::bad_data);
            for (char const* name : {"weave.bash.span_mean", "weave.bash.rate", "0.8"})
                EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
        }
    }
    EXPECT_THROW(bash_coins(constant(0.1, BashUnit::span, 0.5), 0, 1, 0, 0, 0, 5), Error);
}

TEST(Coins, AFunctionOfThePositionAlone) {
    for (auto unit : {BashUnit::token, BashUnit::span}) {
        BashOptions const options = constant(0.4, unit);
        auto const longest = bash_coins(options, 5, 2, 0, 11, 1, 64);
        for (std::int64_t length : {2, 17, 63}) {
            auto const coins = bash_coins(options, 5, 2, 0, 11, 1, length);
            EXPECT_TRUE(std::equal(coins.begin(), coins.end(), longest.begin())) << length;
        }
        EXPECT_EQ(longest, bash_coins(options, 5, 2, 0, 11, 1, 64));
        EXPECT_NE(longest, bash_coins(options, 6, 2, 0, 11, 1, 64));
        EXPECT_NE(longest, bash_coins(options, 5, 3, 0, 11, 1, 64));
        EXPECT_NE(longest, bash_coins(options, 5, 2, 0, 12, 1, 64));
        EXPECT_NE(longest, bash_coins(options, 5, 2, 0, 11, 2, 64));
    }
}

// The draw behind a coin is Philox at (round, example, position, sample): spelt out, so that it cannot drift.
TEST(Coins, TheDrawIsPinned) {
    auto const coins = bash_coins(constant(0.5), 42, 3, 0, 9, 1, 6);
    Random const random(42, Purpose::bash_coin);
    for (std::uint32_t t = 1; t <= 5; ++t) EXPECT_EQ(coins[t - 1] != 0, random.uniform({3, 9, t, 1}) < 0.5);
}

// A higher rate only adds own tokens: the same coins, another threshold.
TEST(Coins, RatesAreNested) {
    auto const few = bash_coins(constant(0.2), 1, 1, 0, 0, 0, 500);
    auto const more = bash_coins(constant(0.6), 1, 1, 0, 0, 0, 500);
    for (std::size_t i = 0; i < few.size(); ++i) EXPECT_LE(few[i], more[i]);
}

}  // namespace
}  // namespace selvage::weave

// SPDX-License-Identifier: Apache-2.0
#include "evaluate/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "evaluate/example_scores.h"

namespace selvage {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

AnswerScore answer(bool right, double rouge) { return {right ? 1.0 : 0.0, rouge, rouge / 2, rouge / 4}; }

// Nine gold tokens with an own context of four, and one gold token with none.
std::vector<ExampleScores> two_examples() {
    std::vector<ExampleScores> out(2);
    ExampleScores& a = out[0];
    a.example = 3;
    a.forced_nll = {1, 1, 1, 1, 1, 1, 1, 1, 9};
    a.own_nll = {1, 3, 3, 5, 1};
    a.forced_correct = 6;
    a.forced_agreement = 0.75;
    a.free_agreement = 0.25;
    a.sampled_agreement = 0.5;
    a.chance_agreement = nan;
    a.prefixes = {{true, 0.5, 0.25, 2, 9, 4, 3}, {true, 1, 0, 1, 1, 2, 1}, {}};
    a.turns = {answer(false, 0.5), answer(true, 1), answer(false, 0.25)};
    a.numeric_gap = 0.25;
    a.numeric_gap_sum = 0.5;
    a.numeric_tokens = 4;
    ExampleScores& b = out[1];
    b.example = 5;
    b.forced_nll = {2};
    b.own_nll = {2};
    b.forced_correct = 1;
    b.forced_agreement = 1;
    b.free_agreement = 1;
    b.sampled_agreement = 0;
    b.chance_agreement = 0.125;
    b.prefixes = {{}, {}, {}};
    b.turns = {answer(false, 0), answer(false, 0), answer(true, 1)};
    b.numeric_tokens = 2;
    return out;
}

class Metrics : public testing::Test {
  protected:
    std::map<std::string, io::MetricValue> const metrics_ = aggregate_scores(two_examples(), 3, 3, 2, 0, 1);
    double value(std::string const& name) { return metrics_.at(name).value; }
};

TEST_F(Metrics, TokenMetricsAreRatiosOfSums) {
    EXPECT_EQ(value("forced_nll"), 19.0 / 10);
    EXPECT_EQ(value("forced_accuracy"), 0.7);
    EXPECT_EQ(value("context_gap"), 8.0 / 6);
    EXPECT_EQ(value("numeric_gap_mean"), 0.5 / 6);
    EXPECT_EQ(value("numeric_gap"), 0.25);
    EXPECT_EQ(metrics_.at("numeric_gap").high, 0.25);
}

TEST_F(Metrics, AgreementsAreMeansOverTheExamplesThatCount) {
    EXPECT_EQ(value("forced_agreement"), 0.875);
    EXPECT_EQ(value("free_agreement"), 0.625);
    EXPECT_EQ(value("free_agreement_sampled"), 0.25);
    EXPECT_EQ(value("chance_agreement"), 0.125);
    EXPECT_EQ(value("gap"), 0.25);
    // Per-example differences 0.5 and 0.
    EXPECT_EQ(metrics_.at("gap").low, 0);
    EXPECT_EQ(metrics_.at("gap").high, 0.5);
}

TEST_F(Metrics, CurvesCountWhoReachesTheBin) {
    auto const& nll = metrics_.at("forced_nll");
    EXPECT_EQ(nll.by_position[0], 10.0 / 9);
    EXPECT_EQ(nll.by_position[1], 9);
    EXPECT_TRUE(std::isnan(nll.by_position[2]));
    EXPECT_EQ(nll.count_by_position, (std::vector<std::int64_t>{2, 1, 0}));
    auto const& gap = metrics_.at("context_gap");
    EXPECT_EQ(gap.by_position[0], 8.0 / 6);
    EXPECT_EQ(gap.count_by_position, (std::vector<std::int64_t>{2, 0, 0}));
}

TEST_F(Metrics, PrefixExchange) {
    EXPECT_EQ(value("prefix_shift"), 0.25);
    EXPECT_EQ(value("prefix_agreement_gold"), 0.5);
    EXPECT_EQ(value("prefix_nll_gold"), 0.5);
    EXPECT_EQ(value("prefix_nll_own"), 3);
    EXPECT_EQ(value("prefix_shift_nll"), 2.5);
    auto const& shift = metrics_.at("prefix_shift");
    EXPECT_EQ(shift.by_position[0], 0.25);
    EXPECT_EQ(shift.by_position[1], 1);
    EXPECT_TRUE(std::isnan(shift.by_position[2]));
    EXPECT_EQ(shift.count_by_position, (std::vector<std::int64_t>{1, 1, 0}));
}

TEST_F(Metrics, CorrectionAndCorruption) {
    // wrong -> right -> wrong, wrong -> wrong -> right.
    EXPECT_EQ(value("correction_rate"), 2.0 / 3);
    EXPECT_EQ(value("corruption_rate"), 1);
    EXPECT_EQ(value("correction_rate_turn1"), 0.5);
    EXPECT_EQ(value("correction_rate_turn2"), 1);
    EXPECT_TRUE(std::isnan(value("corruption_rate_turn1")));
    EXPECT_EQ(value("corruption_rate_turn2"), 1);
    EXPECT_EQ(value("exact_match"), 0);
    EXPECT_EQ(value("exact_match_turn1"), 0.5);
    EXPECT_EQ(value("rouge1_turn2"), 0.625);
    EXPECT_EQ(value("rouge2"), 0.125);
    EXPECT_EQ(value("rougeL"), 0.0625);
}

TEST(MetricsOfTexts, RightMayBeLikeGold) {
    // By ROUGE-L >= 0.1: right, right, wrong; and wrong, wrong, right.
    auto const metrics = aggregate_scores(two_examples(), 3, 3, 2, 0.1, 1);
    EXPECT_EQ(metrics.at("correction_rate").value, 0.5);
    EXPECT_EQ(metrics.at("corruption_rate").value, 0.5);
    EXPECT_EQ(metrics.at("correction_rate_turn1").value, 0);
}

TEST(MetricsOfNothing, AreNaN) {
    auto const metrics = aggregate_scores({}, 2, 2, 0, 0, 1);
    for (auto const& [name, metric] : metrics) {
        EXPECT_TRUE(std::isnan(metric.value)) << name;
        for (double const v : metric.by_position) EXPECT_TRUE(std::isnan(v)) << name;
    }
    EXPECT_TRUE(metrics.contains("correction_rate"));
    EXPECT_FALSE(metrics.contains("rouge1_turn1"));
}

TEST(ExampleScores, RoundTripThroughBytes) {
    auto const scores = two_examples();
    auto const bytes = encode_scores(scores);
    auto const back = decode_scores(bytes);
    ASSERT_EQ(back.size(), 2u);
    EXPECT_EQ(back[0].forced_nll, scores[0].forced_nll);
    EXPECT_EQ(back[0].own_nll, scores[0].own_nll);
    EXPECT_EQ(back[0].prefixes, scores[0].prefixes);
    EXPECT_EQ(back[0].turns, scores[0].turns);
    EXPECT_TRUE(std::isnan(back[0].chance_agreement));
    EXPECT_EQ(back[1].chance_agreement, 0.125);
    EXPECT_EQ(back[1].example, 5);
    EXPECT_EQ(back[1].numeric_tokens, 2);
    EXPECT_EQ(encode_scores(back), bytes);
    EXPECT_THROW(decode_scores(std::span(bytes).first(bytes.size() - 1)), std::exception);
    EXPECT_TRUE(decode_scores({}).empty());
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
// The evaluation sweep on several ranks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "evaluate_fixture.h"

namespace selvage::test {
namespace {

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void expect_same(io::EvaluationRow const& a, io::EvaluationRow const& b) {
    ASSERT_EQ(a.metrics.size(), b.metrics.size());
    for (auto const& [name, metric] : a.metrics) {
        auto const& other = b.metrics.at(name);
        EXPECT_TRUE(same(metric.value, other.value)) << name << " " << metric.value << " " << other.value;
        EXPECT_TRUE(same(metric.low, other.low) && same(metric.high, other.high)) << name;
        EXPECT_EQ(metric.count_by_position, other.count_by_position) << name;
        EXPECT_TRUE(std::equal(metric.by_position.begin(), metric.by_position.end(), other.by_position.begin(),
                               other.by_position.end(), same))
            << name;
    }
}

TEST(Evaluate, DoesNotDependOnRanksOrStreams) {
    World one(alone());
    EvaluationResult const expected = one.run();
    EXPECT_EQ(expected.examples, 9);
    EXPECT_EQ(expected.row.step, 40);
    EXPECT_EQ(expected.row.round, 2);
    for (std::int64_t streams : {1, 8}) {
        World all(world());
        all.generation.streams = streams;
        EvaluationResult const result = all.run();
        EXPECT_EQ(result.tokens, expected.tokens);
        EXPECT_EQ(result.examples, 9);
        EXPECT_FALSE(result.stopped);
        if (world()->rank() == 0)
            expect_same(result.row, expected.row);
        else
            EXPECT_TRUE(result.row.metrics.empty());
    }
}

TEST(Evaluate, StopsWhenAsked) {
    World w(world());
    bool const mine = w.grid.data().rank() == 0;
    int calls = 0;
    EvaluationResult const result = w.run([&](double) { return !mine || ++calls < 3; });
    EXPECT_TRUE(result.stopped);
    EXPECT_TRUE(result.row.metrics.empty());
    EvaluationResult const whole = w.run([](double) { return true; });
    EXPECT_FALSE(whole.stopped);
    EXPECT_EQ(whole.examples, 9);
}

TEST(Evaluate, SkipsWhatDoesNotFitAndCounts) {
    World w(world());
    EvaluationResult const result =
        evaluate(w.arena, w.grid, w.model, w.corpus, *w.tokenizer, w.marker, w.options, w.generation, 40, 11, 0, 0, {});
    EXPECT_EQ(result.skipped, 1);
    EXPECT_EQ(result.examples, 8);
}

}  // namespace
}  // namespace selvage::test

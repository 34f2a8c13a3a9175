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
    learn_half(one);
    EvaluationResult const expected = one.run();
    EXPECT_EQ(expected.examples, 9);
    EXPECT_EQ(expected.row.step, 40);
    EXPECT_EQ(expected.row.round, 2);
    for (std::int64_t streams : {1, 8}) {
        World all(world());
        learn_half(all);
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
    EvaluationResult const result =
        w.run({.progress = [&](double) { return !mine || ++calls < 3; }, .known = {}, .made = {}});
    EXPECT_TRUE(result.stopped);
    EXPECT_TRUE(result.row.metrics.empty());
    EvaluationResult const whole = w.run();
    EXPECT_FALSE(whole.stopped);
    EXPECT_EQ(whole.examples, 9);
}

TEST(Evaluate, DraftsOfAnEarlierStartAreNotMadeAgain) {
    World one(alone());
    learn_half(one);
    std::map<std::tuple<std::int64_t, std::int32_t, std::int32_t>, Draft> kept;
    auto const key = [](auto const& draft) { return std::tuple(draft.example, draft.sample, draft.turn); };
    EvaluationCalls calls;
    calls.made = [&](Draft const& draft) { EXPECT_TRUE(kept.emplace(key(draft), draft).second); };
    EvaluationResult const expected = one.run(calls);
    std::size_t const drafts = kept.size();
    EXPECT_GT(drafts, 4 * 9U);
    std::erase_if(kept, [](auto const& one) { return std::get<0>(one.first) % 2 == 1 && std::get<2>(one.first) > 0; });
    World all(world());
    learn_half(all);
    std::int64_t made = 0;
    calls.made = [&](Draft const& draft) { made += kept.contains(key(draft)) ? 1000 : 1; };
    calls.known = [&](DraftRequest const& request) {
        auto const found = kept.find(key(request));
        return found != kept.end() ? &found->second : nullptr;
    };
    EvaluationResult const result = all.run(calls);
    EXPECT_EQ(sum_over(all.grid.data(), made), static_cast<std::int64_t>(drafts - kept.size()));
    EXPECT_EQ(result.tokens, expected.tokens);
    if (world()->rank() == 0) expect_same(result.row, expected.row);
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

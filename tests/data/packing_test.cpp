// SPDX-License-Identifier: Apache-2.0
#include "data/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/philox.h"

namespace selvage {
namespace {

std::vector<std::int64_t> some_lengths(std::int64_t rows, std::int64_t longest) {
    Random const random(3, Purpose::test);
    std::vector<std::int64_t> lengths;
    for (std::int64_t row = 0; row < rows; ++row)
        lengths.push_back(1 + static_cast<std::int64_t>(random.uniform({0, static_cast<std::uint32_t>(row)}) *
                                                        static_cast<double>(longest)));
    return lengths;
}

PackingOptions small() { return {.batch_tokens = 512, .micro_batch_tokens = 64, .lanes = 8}; }

std::vector<std::int64_t> rows_of(StepPlan const& plan) {
    std::vector<std::int64_t> rows;
    for (auto const& lane : plan.lanes)
        for (PackedRow const& packed : lane) rows.insert(rows.end(), packed.indices.begin(), packed.indices.end());
    return rows;
}

std::int64_t tokens_of(PackedRow const& packed, std::vector<std::int64_t> const& lengths) {
    std::int64_t tokens = 0;
    for (std::int64_t const index : packed.indices) tokens += lengths[static_cast<std::size_t>(index)];
    return tokens;
}

bool same(StepPlan const& a, StepPlan const& b) {
    if (a.step != b.step || a.lanes.size() != b.lanes.size()) return false;
    for (std::size_t lane = 0; lane < a.lanes.size(); ++lane) {
        if (a.lanes[lane].size() != b.lanes[lane].size()) return false;
        for (std::size_t i = 0; i < a.lanes[lane].size(); ++i)
            if (a.lanes[lane][i].indices != b.lanes[lane][i].indices) return false;
    }
    return true;
}

TEST(Packing, EveryRowIsUsedOncePerEpochInAnotherOrder) {
    auto const lengths = some_lengths(101, 40);
    // One row a step shows the walk itself.
    auto const plans = plan_steps(lengths, {.batch_tokens = 1, .micro_batch_tokens = 64, .lanes = 4}, 7, 2, 1, 303);
    std::vector<std::vector<std::int64_t>> epochs(3);
    for (std::size_t i = 0; i < plans.size(); ++i) {
        auto const rows = rows_of(plans[i]);
        ASSERT_EQ(rows.size(), 1U);
        epochs[i / 101].push_back(rows[0]);
    }
    for (auto const& epoch : epochs) EXPECT_EQ(std::set<std::int64_t>(epoch.begin(), epoch.end()).size(), 101U);
    EXPECT_NE(epochs[0], epochs[1]);
    EXPECT_NE(epochs[1], epochs[2]);
    std::vector<std::int64_t> in_file_order(101);
    std::iota(in_file_order.begin(), in_file_order.end(), 0);
    EXPECT_NE(epochs[0], in_file_order);
}

TEST(Packing, StepsTakeTheWalkInTurnWithinTheirTokens) {
    auto const lengths = some_lengths(97, 40);
    auto const walk = plan_steps(lengths, {.batch_tokens = 1, .micro_batch_tokens = 64, .lanes = 8}, 7, 1, 1, 400);
    auto const plans = plan_steps(lengths, small(), 7, 1, 1, 12);
    std::size_t at = 0;
    for (StepPlan const& plan : plans) {
        auto rows = rows_of(plan);
        std::vector<std::int64_t> expected;
        std::int64_t tokens = 0;
        for (std::size_t i = 0; i < rows.size(); ++i) expected.push_back(rows_of(walk[at++])[0]);
        for (std::int64_t const row : rows) tokens += lengths[static_cast<std::size_t>(row)];
        std::int64_t const next = rows_of(walk[at])[0];
        EXPECT_LE(tokens, 512);
        EXPECT_GT(tokens + lengths[static_cast<std::size_t>(next)], 512) << "step " << plan.step << " stopped early";
        std::sort(rows.begin(), rows.end());
        std::sort(expected.begin(), expected.end());
        EXPECT_EQ(rows, expected);
    }
    EXPECT_GT(at, 97U) << "the walk has not gone round";
}

TEST(Packing, MicroBatchesAreWithinTheirLimitAndEven) {
    auto const lengths = some_lengths(5000, 250);
    PackingOptions const options = {.batch_tokens = 8192, .micro_batch_tokens = 1024, .lanes = 8};
    for (StepPlan const& plan : plan_steps(lengths, options, 1, 1, 1, 60)) {
        ASSERT_EQ(plan.lanes.size(), 8U);
        std::int64_t fewest = 1 << 30, most = 0;
        for (auto const& lane : plan.lanes) {
            EXPECT_LE(lane.size(), 2U);  // 8192 tokens never need a third
            EXPECT_EQ(lane.size(), plan.lanes[0].size());
            std::int64_t tokens = 0;
            for (PackedRow const& packed : lane) {
                EXPECT_LE(tokens_of(packed, lengths), 1024);
                tokens += tokens_of(packed, lengths);
            }
            fewest = std::min(fewest, tokens);
            most = std::max(most, tokens);
        }
        EXPECT_LE(most - fewest, 100) << "step " << plan.step;
    }
}

TEST(Packing, FewRowsSpreadOverAnyHalfOfTheLanes) {
    // Two rows go to lanes that two ranks do not share, four to lanes that four ranks do not share.
    PackingOptions const two = {.batch_tokens = 20, .micro_batch_tokens = 64, .lanes = 8};
    StepPlan const plan = plan_steps({10, 10, 10}, two, 1, 1, 1, 1)[0];
    EXPECT_EQ(plan.lanes[0].size() + plan.lanes[4].size(), 2U);
    PackingOptions const four = {.batch_tokens = 40, .micro_batch_tokens = 64, .lanes = 8};
    StepPlan const wider = plan_steps({10, 10, 10, 10, 10}, four, 1, 1, 1, 1)[0];
    for (std::size_t const lane : {0, 2, 4, 6}) EXPECT_EQ(wider.lanes[lane].size(), 1U) << "lane " << lane;
}

TEST(Packing, PlansDependOnSeedAndRoundAndNotOnHowManyAreMade) {
    auto const lengths = some_lengths(97, 40);
    auto const all = plan_steps(lengths, small(), 7, 3, 41, 20);
    auto const begun = plan_steps(lengths, small(), 7, 3, 41, 5);
    ASSERT_EQ(begun.size(), 5U);
    for (std::size_t i = 0; i < begun.size(); ++i) EXPECT_TRUE(same(begun[i], all[i])) << "step " << begun[i].step;
    EXPECT_EQ(all.front().step, 41);
    EXPECT_EQ(all.back().step, 60);
    EXPECT_FALSE(same(plan_steps(lengths, small(), 7, 4, 41, 1)[0], all[0]));
    EXPECT_FALSE(same(plan_steps(lengths, small(), 8, 3, 41, 1)[0], all[0]));
    // Rounds and epochs beyond 16 bits are still told apart.
    EXPECT_FALSE(same(plan_steps(lengths, small(), 7, 3 + 65536, 41, 1)[0], all[0]));
}

TEST(Packing, UsesNameEveryRowWithItsPlace) {
    auto const lengths = some_lengths(97, 40);
    auto const plans = plan_steps(lengths, small(), 7, 1, 11, 4);
    auto const uses = uses_of(plans, lengths);
    std::size_t at = 0;
    for (StepPlan const& plan : plans) {
        int row = 0;
        for (int lane = 0; lane < 8; ++lane) {
            for (PackedRow const& packed : plan.lanes[static_cast<std::size_t>(lane)]) {
                std::int64_t offset = 0;
                for (std::int64_t const index : packed.indices) {
                    io::Use const expected = {plan.step, lane, row, static_cast<std::int32_t>(offset), index};
                    ASSERT_LT(at, uses.size());
                    EXPECT_EQ(uses[at++], expected);
                    offset += lengths[static_cast<std::size_t>(index)];
                }
                ++row;
            }
        }
    }
    EXPECT_EQ(at, uses.size());
}

TEST(Packing, ARowLongerThanABatchIsAStepOfItsOwn) {
    auto const plans = plan_steps({50, 50, 50}, {.batch_tokens = 20, .micro_batch_tokens = 64, .lanes = 2}, 1, 1, 1, 3);
    for (StepPlan const& plan : plans) EXPECT_EQ(rows_of(plan).size(), 1U);
}

std::string message_of(std::vector<std::int64_t> const& lengths, PackingOptions const& options) {
    try {
        plan_steps(lengths, options, 1, 1, 1, 1);
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        return error.what();
    }
    return "";
}

TEST(Packing, WhatDoesNotFitIsNamed) {
    auto const message = message_of({10, 65, 70}, small());
    EXPECT_THAT(message, ::testing::HasSubstr("row 1 of the woven file has 65 input tokens"));
    EXPECT_THAT(message, ::testing::HasSubstr("raise train.micro_batch_tokens to 70"));
    EXPECT_THAT(message_of({}, small()), ::testing::HasSubstr("no rows"));
    EXPECT_THAT(message_of({10}, {.batch_tokens = 64, .micro_batch_tokens = 64, .lanes = 6}),
                ::testing::HasSubstr("train.lanes is 6"));
}

}  // namespace
}  // namespace selvage

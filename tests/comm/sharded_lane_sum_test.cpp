// SPDX-License-Identifier: Apache-2.0
#include "comm/sharded_lane_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "comm/lane_values.h"
#include "support/test_main.h"

namespace selvage {
namespace {

std::vector<float> gradient_of(std::int64_t lane, std::int64_t elements) {
    std::vector<float> values;
    for (std::int64_t e = 0; e < elements; ++e) values.push_back(test::lane_value(lane, e % 500));
    return values;
}

void expect_tree(std::int64_t lanes, std::vector<Range> const& shards, Overlap overlap) {
    auto const world = test::world();
    auto const device = make_device("cpu");
    Arena arena(*device);
    auto const add = [](TensorView to, TensorView from, Stream&) {
        for (std::int64_t i = 0; i < to.elements(); ++i) to.as<float>()[i] += from.as<float>()[i];
    };
    ShardedLaneSum sum(arena, *world, lanes, shards, add, overlap);
    Range const mine = shards[static_cast<std::size_t>(world->rank())];
    std::size_t const memory = arena.in_use();
    std::int64_t const elements = shards.back().end;
    for (int step = 0; step < 2; ++step) {
        sum.begin();
        for (std::int64_t turn = 0; turn < sum.turns(); ++turn) {
            // Made from its end to its beginning.
            std::vector<float> const final = gradient_of(sum.lane_of(turn), sum.has_lane(turn) ? elements : 0);
            std::vector<float> gradient(final.size(), std::numeric_limits<float>::quiet_NaN());
            sum.begin_turn(turn, TensorView::of(gradient.data(), {static_cast<std::int64_t>(gradient.size())}));
            for (auto end = static_cast<std::ptrdiff_t>(final.size()); end > 0;) {
                std::ptrdiff_t const begin = std::max<std::ptrdiff_t>(0, end - 1 - elements / 3);
                std::copy(final.begin() + begin, final.begin() + end, gradient.begin() + begin);
                if (turn % 2 == 0) sum.final_from(begin);
                end = begin;
            }
            sum.finish_turn();
        }
        float const* const got = sum.sum().as<float>();
        for (std::int64_t e = mine.begin; e < mine.end; ++e)
            ASSERT_EQ(got[e - mine.begin], test::tree_of_lanes(1, lanes, e % 500)) << lanes << " lanes, element " << e;
    }
    EXPECT_EQ(arena.in_use(), memory) << "a step allocates";
}

void expect_tree(std::int64_t lanes, std::vector<Range> const& shards) {
    for (Overlap const overlap : {Overlap::no, Overlap::yes}) expect_tree(lanes, shards, overlap);
}

std::vector<Range> shards_of(std::int64_t elements) {
    int const ranks = test::world()->size();
    std::vector<Range> shards;
    for (int r = 0; r < ranks; ++r) shards.push_back(EvenSplit(elements, ranks).part(r));
    return shards;
}

TEST(ShardedLaneSum, IsTheTreeOverLanes) {
    for (std::int64_t const lanes : {4, 8, 32}) expect_tree(lanes, shards_of(1001));
}

TEST(ShardedLaneSum, OfSeveralPieces) { expect_tree(4, shards_of(ShardedLaneSum::piece_elements * 2 + 77)); }

TEST(ShardedLaneSum, RanksWithoutAShard) {
    int const ranks = test::world()->size();
    std::vector<Range> shards(static_cast<std::size_t>(ranks), Range{0, 0});
    shards.back() = {0, 300};
    expect_tree(8, shards);
}

TEST(ShardedLaneSum, SmallSumsOfDealtLanes) {
    auto const world = test::world();
    for (std::int64_t const lanes : {4, 8, 16}) {
        std::vector<double> mine, expected(static_cast<std::size_t>(lanes));
        for (std::int64_t lane = world->rank(); lane < lanes; lane += world->size())
            mine.insert(mine.end(), {static_cast<double>(test::lane_value(lane, 3)), 1.0});
        for (std::int64_t lane = 0; lane < lanes; ++lane)
            expected[static_cast<std::size_t>(lane)] = test::lane_value(lane, 3);
        auto const total = tree_sum_dealt_lanes(*world, lanes, mine, 2);
        EXPECT_EQ(total[0], tree_sum(expected));  // the lanes are a power of two
        EXPECT_EQ(total[1], static_cast<double>(lanes));
    }
}

}  // namespace
}  // namespace selvage

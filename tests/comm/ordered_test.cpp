// SPDX-License-Identifier: Apache-2.0
#include "comm/ordered.h"

#include <gtest/gtest.h>

#include "comm/lane_values.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using test::lane_value;
using test::tree_of_lanes;

TEST(Ordered, SubtreeRootsOfUnequalShares) {
    EXPECT_EQ(subtree_roots({0, 8}, 8), (std::vector<LaneNode>{1}));
    EXPECT_EQ(subtree_roots({0, 2}, 8), (std::vector<LaneNode>{4}));
    EXPECT_EQ(subtree_roots({2, 5}, 8), (std::vector<LaneNode>{5, 12}));
    EXPECT_EQ(subtree_roots({5, 8}, 8), (std::vector<LaneNode>{13, 7}));
    EXPECT_EQ(subtree_roots({3, 3}, 8), (std::vector<LaneNode>{}));
}

TEST(Ordered, ARingWouldFail) {
    // Rank by rank around a ring: the sum of some element differs from the tree, so the test above can fail.
    int differing = 0;
    for (std::int64_t e = 0; e < 100; ++e) {
        float ring = 0;
        for (std::int64_t lane = 0; lane < 8; ++lane) ring += lane_value((lane + e) % 8, e);
        differing += ring != tree_of_lanes(1, 8, e);
    }
    EXPECT_GT(differing, 10);
}

TEST(Ordered, LaneSumsAreTheSameOnEveryRank) {
    auto const world = test::world();
    std::int64_t const lanes = 8;
    EvenSplit const split(lanes, world->size());
    std::vector<double> mine;
    Range const own = split.part(world->rank());
    for (std::int64_t lane = own.begin; lane < own.end; ++lane) {
        mine.push_back(lane_value(lane, 0));
        mine.push_back(1);
    }
    auto const total = tree_sum_lanes(*world, split, lanes, mine, 2);
    double expected = 0;
    {
        double v[8];
        for (int l = 0; l < 8; ++l) v[l] = lane_value(l, 0);
        expected = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    }
    EXPECT_EQ(total[0], expected);
    EXPECT_EQ(total[1], 8);
}

TEST(Ordered, TreeSumOfOddCounts) {
    std::vector<double> const values = {1e16, 1, -1e16, 1, 1};
    EXPECT_EQ(tree_sum(values), ((1e16 + 1) + (-1e16 + 1)) + 1);
    EXPECT_EQ(tree_sum({}), 0);
}

}  // namespace
}  // namespace selvage

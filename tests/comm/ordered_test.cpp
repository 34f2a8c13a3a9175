// SPDX-License-Identifier: Apache-2.0
#include "comm/ordered.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/philox.h"
#include "support/test_main.h"

namespace selvage {
namespace {

// Numbers of very different size, so that the order of additions shows in the bits.
float value(std::int64_t lane, std::int64_t element) {
    Random const random(5, Purpose::test);
    double const u = random.uniform({0, static_cast<std::uint32_t>(lane), static_cast<std::uint32_t>(element)});
    return static_cast<float>(std::ldexp(u - 0.5, static_cast<int>((lane * 7 + element) % 24)));
}

// The definition, written recursively.
float tree(std::int64_t node, std::int64_t lanes, std::int64_t element) {
    if (node >= lanes) return value(node - lanes, element);
    return tree(2 * node, lanes, element) + tree(2 * node + 1, lanes, element);
}

TEST(Ordered, SubtreeRootsOfUnequalShares) {
    EXPECT_EQ(subtree_roots({0, 8}, 8), (std::vector<LaneNode>{1}));
    EXPECT_EQ(subtree_roots({0, 2}, 8), (std::vector<LaneNode>{4}));
    EXPECT_EQ(subtree_roots({2, 5}, 8), (std::vector<LaneNode>{5, 12}));
    EXPECT_EQ(subtree_roots({5, 8}, 8), (std::vector<LaneNode>{13, 7}));
    EXPECT_EQ(subtree_roots({3, 3}, 8), (std::vector<LaneNode>{}));
}

TEST(Ordered, ReductionEqualsTheTreeOnAnyNumberOfRanks) {
    auto const world = test::world();
    for (std::int64_t lanes : {1, 4, 8, 16}) {
        if (world->size() > lanes) continue;
        for (std::int64_t elements : {1, 13, 1000}) {
            EvenSplit const lane_split(lanes, world->size());
            EvenSplit const element_split(elements, world->size());
            std::vector<std::vector<float>> buffers;
            LaneAccumulator accumulator(
                lanes,
                [&] {
                    buffers.emplace_back(static_cast<std::size_t>(elements));
                    return buffers.size() - 1;
                },
                [&](std::size_t to, std::size_t from) {
                    for (std::size_t i = 0; i < buffers[to].size(); ++i) buffers[to][i] += buffers[from][i];
                });
            for (int repeat = 0; repeat < 2; ++repeat) {
                accumulator.reset();
                Range const mine = lane_split.part(world->rank());
                for (std::int64_t lane = mine.begin; lane < mine.end; ++lane) {
                    auto& buffer = buffers[accumulator.begin_lane()];
                    // begin_lane may have made the buffers grow: take the reference anew.
                    for (std::int64_t e = 0; e < elements; ++e) buffer[static_cast<std::size_t>(e)] = value(lane, e);
                    accumulator.end_lane(lane);
                }
                std::vector<std::span<float const>> roots;
                std::vector<LaneNode> nodes;
                for (auto const& [node, buffer] : accumulator.roots()) {
                    nodes.push_back(node);
                    roots.emplace_back(buffers[buffer]);
                }
                ASSERT_EQ(nodes, subtree_roots(mine, lanes));
                std::vector<Range> shards;
                for (int r = 0; r < world->size(); ++r) shards.push_back(element_split.part(r));
                Range const shard = shards[static_cast<std::size_t>(world->rank())];
                std::vector<float> out(static_cast<std::size_t>(shard.size()));
                tree_reduce_shards(*world, lane_split, lanes, shards, roots, out);
                for (std::int64_t e = shard.begin; e < shard.end; ++e)
                    ASSERT_EQ(out[static_cast<std::size_t>(e - shard.begin)], tree(1, lanes, e))
                        << "lanes " << lanes << " element " << e;
            }
        }
    }
}

TEST(Ordered, ARingWouldFail) {
    // Rank by rank around a ring: the sum of some element differs from the tree, so the test above can fail.
    int differing = 0;
    for (std::int64_t e = 0; e < 100; ++e) {
        float ring = 0;
        for (std::int64_t lane = 0; lane < 8; ++lane) ring += value((lane + e) % 8, e);
        differing += ring != tree(1, 8, e);
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
        mine.push_back(value(lane, 0));
        mine.push_back(1);
    }
    auto const total = tree_sum_lanes(*world, split, lanes, mine, 2);
    double expected = 0;
    {
        double v[8];
        for (int l = 0; l < 8; ++l) v[l] = value(l, 0);
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

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Floating-point sums whose bits do not depend on the number of ranks: a fixed binary tree over lane indices.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "tensor/layout.h"

namespace selvage {

// A node of the binary tree over `lanes` lanes (a power of two), numbered like a heap: 1 is the root, node n has the
// children 2n and 2n+1, lane l is the leaf lanes + l.
using LaneNode = std::int64_t;

// What a rank has of the tree: the sum over the lanes of `node`, a vector of full length.
struct LaneRow {
    LaneNode node = 0;
    float* values = nullptr;
};

// The largest subtrees that make up a range of lanes, in lane order: what is left after adding up locally.
std::vector<LaneNode> subtree_roots(Range lanes_of_rank, std::int64_t lanes);

// Adds up buffers of lanes as they come, in order, and keeps only subtree roots: at most log2(lanes) + 1 buffers.
// `make` gives a new buffer handle, `add(to, from)` adds one into the other, elementwise; the handle `from` is reused.
class LaneAccumulator {
  public:
    LaneAccumulator(std::int64_t lanes, std::function<std::size_t()> make,
                    std::function<void(std::size_t, std::size_t)> add);
    // The buffer for the next lane (its content is what the caller last left in it).
    std::size_t begin_lane();
    // Says that the buffer is complete; merges what can be merged.
    void end_lane(std::int64_t lane);
    // Instead of end_lane(): the buffer (complete or not) is kept by itself, as the leaf that it is.
    void keep_lane(std::int64_t lane);
    // Nodes and their buffers, in lane order.
    std::vector<std::pair<LaneNode, std::size_t>> roots() const { return stack_; }
    // Forgets the sums, keeps the buffers for the next step.
    void reset();

  private:
    std::int64_t lanes_;
    std::function<std::size_t()> make_;
    std::function<void(std::size_t, std::size_t)> add_;
    std::vector<std::pair<LaneNode, std::size_t>> stack_;
    std::vector<std::size_t> free_;
    std::size_t current_ = 0;
};

// Small sums (losses, counts as doubles): values[l] of every lane, gathered and added by the same tree. Collective.
// `mine` has one row of `width` doubles for each lane of this rank; every rank gets the totals.
std::vector<double> tree_sum_lanes(Communicator& data, EvenSplit const& lane_split, std::int64_t lanes,
                                   std::span<double const> mine, std::int64_t width);

// The same where rank r has the lanes r, r + ranks, ... (ShardedLaneSum).
std::vector<double> tree_sum_dealt_lanes(Communicator& data, std::int64_t lanes, std::span<double const> mine,
                                         std::int64_t width);

// One fixed tree over any number of values (pairs, then pairs of pairs; odd ends move up), in fp64.
double tree_sum(std::span<double const> values);

}  // namespace selvage

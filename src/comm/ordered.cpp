// SPDX-License-Identifier: Apache-2.0
#include "comm/ordered.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace selvage {
namespace {

bool is_power_of_two(std::int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

// Sums of rows of `width` elements over the tree: `row_of(node)` is what one rank made of the node's lanes.
template <class T>
class TreeSum {
  public:
    TreeSum(std::map<LaneNode, T const*> rows, std::int64_t width) : rows_(std::move(rows)), width_(width) {}

    std::vector<T> at(LaneNode node) const {
        auto const found = rows_.find(node);
        if (found != rows_.end()) return std::vector<T>(found->second, found->second + width_);
        SELVAGE_CHECK(!rows_.empty() && node <= rows_.rbegin()->first, "lane node {} has no sum", node);
        std::vector<T> left = at(2 * node);
        std::vector<T> const right = at(2 * node + 1);
        for (std::int64_t i = 0; i < width_; ++i)
            left[static_cast<std::size_t>(i)] += right[static_cast<std::size_t>(i)];
        return left;
    }

  private:
    std::map<LaneNode, T const*> rows_;
    std::int64_t width_;
};

void collect_roots(LaneNode node, Range covers, Range wanted, std::vector<LaneNode>& out) {
    Range const both = covers.intersect(wanted);
    if (both.size() <= 0) return;
    if (both == covers) {
        out.push_back(node);
        return;
    }
    std::int64_t const middle = (covers.begin + covers.end) / 2;
    collect_roots(2 * node, {covers.begin, middle}, wanted, out);
    collect_roots(2 * node + 1, {middle, covers.end}, wanted, out);
}

}  // namespace

std::vector<LaneNode> subtree_roots(Range lanes_of_rank, std::int64_t lanes) {
    SELVAGE_CHECK(is_power_of_two(lanes), "{} lanes are not a power of two", lanes);
    std::vector<LaneNode> roots;
    collect_roots(1, {0, lanes}, lanes_of_rank, roots);
    return roots;
}

LaneAccumulator::LaneAccumulator(std::int64_t lanes, std::function<std::size_t()> make,
                                 std::function<void(std::size_t, std::size_t)> add)
    : lanes_(lanes), make_(std::move(make)), add_(std::move(add)) {
    SELVAGE_CHECK(is_power_of_two(lanes), "{} lanes are not a power of two", lanes);
}

std::size_t LaneAccumulator::begin_lane() {
    if (free_.empty()) {
        current_ = make_();
    } else {
        current_ = free_.back();
        free_.pop_back();
    }
    return current_;
}

void LaneAccumulator::end_lane(std::int64_t lane) {
    LaneNode node = lanes_ + lane;
    std::size_t buffer = current_;
    // A right child meets its left sibling, if this rank has it: the sum is their parent's.
    while (node % 2 == 1 && !stack_.empty() && stack_.back().first == node - 1) {
        std::size_t const left = stack_.back().second;
        stack_.pop_back();
        add_(left, buffer);
        free_.push_back(buffer);
        buffer = left;
        node /= 2;
    }
    stack_.emplace_back(node, buffer);
}

void LaneAccumulator::reset() {
    for (auto const& [node, buffer] : stack_) free_.push_back(buffer);
    stack_.clear();
}

void tree_reduce_shards(Communicator& data, EvenSplit const& lane_split, std::int64_t lanes,
                        std::vector<Range> const& shards, std::vector<std::span<float const>> const& roots,
                        std::span<float> out) {
    auto const ranks = static_cast<std::size_t>(data.size());
    auto const rank = static_cast<std::size_t>(data.rank());
    std::vector<std::vector<LaneNode>> nodes(ranks);
    for (std::size_t r = 0; r < ranks; ++r)
        nodes[r] = subtree_roots(lane_split.part(static_cast<std::int64_t>(r)), lanes);
    SELVAGE_CHECK(nodes[rank].size() == roots.size(), "{} subtree sums for {} subtrees", roots.size(),
                  nodes[rank].size());

    std::int64_t const width = shards[rank].size();
    SELVAGE_CHECK(static_cast<std::int64_t>(out.size()) == width, "shard of {} elements into {}", width, out.size());
    std::vector<std::size_t> send_counts(ranks), recv_counts(ranks);
    std::vector<float> send;
    for (std::size_t r = 0; r < ranks; ++r) {
        Range const shard = shards[r];
        if (r != rank)
            for (auto const& root : roots)
                send.insert(send.end(), root.begin() + shard.begin, root.begin() + shard.end);
        send_counts[r] = r == rank ? 0 : roots.size() * static_cast<std::size_t>(shard.size()) * sizeof(float);
        recv_counts[r] = r == rank ? 0 : nodes[r].size() * static_cast<std::size_t>(width) * sizeof(float);
    }
    std::size_t received = 0;
    for (std::size_t const count : recv_counts) received += count;
    std::vector<float> recv(received / sizeof(float));
    data.all_to_all_v(std::as_bytes(std::span(send)), send_counts, std::as_writable_bytes(std::span(recv)),
                      recv_counts);

    std::map<LaneNode, float const*> rows;
    float const* at = recv.data();
    for (std::size_t r = 0; r < ranks; ++r) {
        for (std::size_t i = 0; i < nodes[r].size(); ++i) {
            if (r == rank) {
                rows[nodes[r][i]] = roots[i].data() + shards[rank].begin;
            } else {
                rows[nodes[r][i]] = at;
                at += width;
            }
        }
    }
    std::vector<float> const total = TreeSum<float>(std::move(rows), width).at(1);
    std::copy(total.begin(), total.end(), out.begin());
}

std::vector<double> tree_sum_lanes(Communicator& data, EvenSplit const& lane_split, std::int64_t lanes,
                                   std::span<double const> mine, std::int64_t width) {
    std::vector<double> all(static_cast<std::size_t>(lanes * width));
    std::vector<std::size_t> counts;
    for (std::int64_t r = 0; r < data.size(); ++r)
        counts.push_back(static_cast<std::size_t>(lane_split.part(r).size() * width) * sizeof(double));
    data.all_gather_v(std::as_bytes(mine), std::as_writable_bytes(std::span(all)), counts);
    std::map<LaneNode, double const*> rows;
    for (std::int64_t lane = 0; lane < lanes; ++lane) rows[lanes + lane] = all.data() + lane * width;
    return TreeSum<double>(std::move(rows), width).at(1);
}

double tree_sum(std::span<double const> values) {
    if (values.empty()) return 0;
    std::vector<double> level(values.begin(), values.end());
    while (level.size() > 1) {
        std::size_t const pairs = level.size() / 2;
        for (std::size_t i = 0; i < pairs; ++i) level[i] = level[2 * i] + level[2 * i + 1];
        if (level.size() % 2 == 1) level[pairs] = level.back();
        level.resize((level.size() + 1) / 2);
    }
    return level[0];
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "comm/ordered.h"

#include <algorithm>

#include "base/error.h"
#include "comm/tree_sum.h"

namespace selvage {
namespace {

bool is_power_of_two(std::int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

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

// row(lane): its `width` values.
template <class Row>
std::vector<double> tree_sum_rows(std::int64_t lanes, std::int64_t width, Row const& row) {
    TreeSum<double> tree(lanes);
    for (std::int64_t lane = 0; lane < lanes; ++lane) tree.set_row(lanes + lane, row(lane));
    std::vector<double> total(static_cast<std::size_t>(width));
    tree.sum(total);
    return total;
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

void LaneAccumulator::keep_lane(std::int64_t lane) { stack_.emplace_back(lanes_ + lane, current_); }

void LaneAccumulator::reset() {
    for (auto const& [node, buffer] : stack_) free_.push_back(buffer);
    stack_.clear();
}

std::vector<double> tree_sum_lanes(Communicator& data, EvenSplit const& lane_split, std::int64_t lanes,
                                   std::span<double const> mine, std::int64_t width) {
    std::vector<double> all(static_cast<std::size_t>(lanes * width));
    std::vector<std::size_t> counts;
    for (std::int64_t r = 0; r < data.size(); ++r)
        counts.push_back(static_cast<std::size_t>(lane_split.part(r).size() * width) * sizeof(double));
    data.all_gather_v(std::as_bytes(mine), std::as_writable_bytes(std::span(all)), counts);
    return tree_sum_rows(lanes, width, [&](std::int64_t lane) { return all.data() + lane * width; });
}

std::vector<double> tree_sum_dealt_lanes(Communicator& data, std::int64_t lanes, std::span<double const> mine,
                                         std::int64_t width) {
    std::int64_t const turns = (lanes + data.size() - 1) / data.size();
    std::vector<double> padded(mine.begin(), mine.end());
    padded.resize(static_cast<std::size_t>(turns * width));
    std::vector<double> all(padded.size() * static_cast<std::size_t>(data.size()));
    data.all_gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(all)));
    return tree_sum_rows(lanes, width, [&](std::int64_t lane) {
        return all.data() + (lane % data.size() * turns + lane / data.size()) * width;
    });
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

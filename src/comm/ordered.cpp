// SPDX-License-Identifier: Apache-2.0
#include "comm/ordered.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace selvage {
namespace {

bool is_power_of_two(std::int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

constexpr std::int64_t exchange_elements = std::int64_t{1} << 18;  // of a shard, sent and added up at once
constexpr std::int64_t add_elements = 2048;                        // of them, added up at once: they stay in the cache

// Sums over the tree: row(node) is what one rank made of the node's lanes.
template <class T>
class TreeSum {
  public:
    explicit TreeSum(std::int64_t lanes) : lanes_(lanes) {}
    void set_row(LaneNode node, T const* row) { rows_[node] = row; }

    // out[i] = the root's element i, for all of out.
    void sum(std::span<T> out) {
        auto const count = static_cast<std::int64_t>(out.size());
        for (std::int64_t at = 0; at < count; at += add_elements)
            sum_into(1, 0, at,
                     out.subspan(static_cast<std::size_t>(at),
                                 static_cast<std::size_t>(std::min(add_elements, count - at))));
    }

  private:
    void sum_into(LaneNode node, std::size_t depth, std::int64_t at, std::span<T> out) {
        if (auto const found = rows_.find(node); found != rows_.end()) {
            std::copy_n(found->second + at, out.size(), out.begin());
            return;
        }
        SELVAGE_CHECK(node < lanes_, "lane node {} has no sum", node);
        sum_into(2 * node, depth + 1, at, out);
        auto const found = rows_.find(2 * node + 1);
        T const* right = found == rows_.end() ? nullptr : found->second + at;
        if (right == nullptr) {
            if (scratch_.size() <= depth) scratch_.resize(depth + 1);
            scratch_[depth].resize(static_cast<std::size_t>(add_elements));
            std::span<T> const sum = std::span(scratch_[depth]).first(out.size());
            sum_into(2 * node + 1, depth + 1, at, sum);
            right = sum.data();
        }
        for (std::size_t i = 0; i < out.size(); ++i) out[i] += right[i];
    }

    std::int64_t lanes_;
    std::map<LaneNode, T const*> rows_;
    std::vector<std::vector<T>> scratch_;  // by depth
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
    SELVAGE_CHECK(static_cast<std::int64_t>(out.size()) == shards[rank].size(), "shard of {} elements into {}",
                  shards[rank].size(), out.size());

    std::int64_t widest = 0;
    for (Range const& shard : shards) widest = std::max(widest, shard.size());
    TreeSum<float> tree(lanes);
    std::vector<float> send, recv;
    std::vector<std::size_t> send_counts(ranks), recv_counts(ranks);
    // Piece by piece, so that what is on its way stays small beside the shards.
    for (std::int64_t first = 0; first < widest; first += exchange_elements) {
        auto const piece_of = [&](std::size_t r) {
            auto const [begin, end] = shards[r];
            return Range{std::min(end, begin + first), std::min(end, begin + first + exchange_elements)};
        };
        Range const mine = piece_of(rank);
        auto const width = static_cast<std::size_t>(mine.size());
        send.clear();
        std::size_t received = 0;
        for (std::size_t r = 0; r < ranks; ++r) {
            Range const piece = r == rank ? Range{} : piece_of(r);
            for (auto const& root : roots)
                send.insert(send.end(), root.begin() + piece.begin, root.begin() + piece.end);
            send_counts[r] = roots.size() * static_cast<std::size_t>(piece.size()) * sizeof(float);
            recv_counts[r] = r == rank ? 0 : nodes[r].size() * width * sizeof(float);
            received += recv_counts[r] / sizeof(float);
        }
        recv.resize(received);
        data.all_to_all_v(std::as_bytes(std::span(send)), send_counts, std::as_writable_bytes(std::span(recv)),
                          recv_counts);
        float const* at = recv.data();
        for (std::size_t r = 0; r < ranks; ++r)
            for (std::size_t i = 0; i < nodes[r].size(); ++i) {
                tree.set_row(nodes[r][i], r == rank ? roots[i].data() + mine.begin : at);
                if (r != rank) at += width;
            }
        if (width > 0) tree.sum(out.subspan(static_cast<std::size_t>(first), width));
    }
}

std::vector<double> tree_sum_lanes(Communicator& data, EvenSplit const& lane_split, std::int64_t lanes,
                                   std::span<double const> mine, std::int64_t width) {
    std::vector<double> all(static_cast<std::size_t>(lanes * width));
    std::vector<std::size_t> counts;
    for (std::int64_t r = 0; r < data.size(); ++r)
        counts.push_back(static_cast<std::size_t>(lane_split.part(r).size() * width) * sizeof(double));
    data.all_gather_v(std::as_bytes(mine), std::as_writable_bytes(std::span(all)), counts);
    TreeSum<double> tree(lanes);
    for (std::int64_t lane = 0; lane < lanes; ++lane) tree.set_row(lanes + lane, all.data() + lane * width);
    std::vector<double> total(static_cast<std::size_t>(width));
    tree.sum(total);
    return total;
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

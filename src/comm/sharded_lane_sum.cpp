// SPDX-License-Identifier: Apache-2.0
#include "comm/sharded_lane_sum.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "tensor/host_copy.h"

namespace selvage {

ShardedLaneSum::ShardedLaneSum(Arena& arena, Communicator& data, std::int64_t lanes, std::vector<Range> shards, Add add,
                               Overlap overlap, std::function<void()> thread_begins)
    : data_(data),
      lanes_(lanes),
      shards_(std::move(shards)),
      before_(
          lanes,
          [this, &arena] {
              partial_.emplace_back(arena, "gradient", DType::f32, Shape{shard().size()});
              return partial_.size() - 1;
          },
          [this, add = std::move(add)](std::size_t to, std::size_t from) {
              add(partial_[to].view().rows(part_.begin, part_.end), partial_[from].view().rows(part_.begin, part_.end),
                  stream_);
          }),
      accumulator_(before_),
      callers_(arena.stream()),
      stream_(arena.device()),
      exchange_(data, shards_, static_cast<std::size_t>(data.size() - 1), overlap, std::move(thread_begins), &arena) {
    // All buffers are made here: of lanes as a step has them.
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
        accumulator_.begin_lane();
        accumulator_.end_lane(lane);
    }
    begin();
}

void ShardedLaneSum::begin() {
    callers_.synchronize();
    accumulator_.reset();
}

void ShardedLaneSum::begin_turn(std::int64_t turn, TensorView gradient) {
    SELVAGE_CHECK(has_lane(turn) != gradient.empty(), "a gradient of {} elements in turn {}", gradient.elements(),
                  turn);
    turn_ = turn;
    before_ = accumulator_;
    std::vector<std::vector<LaneNode>> nodes(shards_.size());
    for (std::size_t r = 0; r < nodes.size(); ++r)
        if (std::int64_t const lane = turn * ranks() + static_cast<std::int64_t>(r); lane < lanes_)
            nodes[r].push_back(lanes_ + lane);
    std::vector<PieceExchange::Row> rows;
    if (!gradient.empty()) rows.push_back({lanes_ + lane_of(turn), gradient.as<float>()});
    std::int64_t const begin = shard().begin;
    exchange_.begin(std::move(rows), std::move(nodes), [this, begin](PieceExchange::Arrived const& arrived) {
        std::vector<float const*> values;
        for (PieceExchange::Row const& row : arrived.rows) values.push_back(row.values);
        add_part({arrived.elements.begin - begin, arrived.elements.end - begin}, values);
    });
    if (gradient.empty()) exchange_.final_from(0);
}

void ShardedLaneSum::finish_turn() {
    callers_.synchronize();
    exchange_.finish();
    auto const lanes = static_cast<std::size_t>(std::min(lanes_ - turn_ * ranks(), ranks()));
    if (shard().size() == 0) add_part({}, std::vector<float const*>(lanes));
    stream_.synchronize();
}

// Every part goes through the same sums.
void ShardedLaneSum::add_part(Range part, std::vector<float const*> const& values) {
    part_ = part;
    accumulator_ = before_;
    std::int64_t lane = turn_ * ranks();
    for (float const* const from : values) {
        TensorView const to = partial_[accumulator_.begin_lane()];
        copy_to_device(to.rows(part.begin, part.end), from, stream_);
        accumulator_.end_lane(lane++);
    }
}

TensorView ShardedLaneSum::sum() const {
    auto const roots = accumulator_.roots();
    SELVAGE_CHECK(roots.size() == 1 && roots[0].first == 1, "{} sums after the last turn", roots.size());
    return partial_[roots[0].second];
}

}  // namespace selvage

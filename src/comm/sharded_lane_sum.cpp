// SPDX-License-Identifier: Apache-2.0
#include "comm/sharded_lane_sum.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "tensor/host_copy.h"

namespace selvage {

ShardedLaneSum::ShardedLaneSum(Arena& arena, Communicator& data, std::int64_t lanes, std::vector<Range> shards, Add add)
    : data_(data),
      lanes_(lanes),
      shards_(std::move(shards)),
      accumulator_(
          lanes,
          [this, &arena] {
              Range const mine = shards_[static_cast<std::size_t>(data_.rank())];
              partial_.emplace_back(arena, "gradient", DType::f32, Shape{mine.size()});
              return partial_.size() - 1;
          },
          [this, add = std::move(add)](std::size_t to, std::size_t from) {
              add(partial_[to].view().rows(part_.begin, part_.end), partial_[from].view().rows(part_.begin, part_.end),
                  stream_);
          }),
      stream_(arena.stream()),
      send_(arena.device()),
      received_(arena.device()),
      send_counts_(shards_.size()),
      recv_counts_(shards_.size()) {
    // All buffers are made here: of lanes as a step has them.
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
        accumulator_.begin_lane();
        accumulator_.end_lane(lane);
    }
    accumulator_.reset();
    std::int64_t sent = 0, piece = std::min(piece_elements, shards_[static_cast<std::size_t>(data.rank())].size());
    for (Range const shard : shards_) sent += std::min(piece_elements, shard.size());
    received_.at_least(shards_.size() * static_cast<std::size_t>(piece) * sizeof(float));
    send_.at_least(static_cast<std::size_t>(sent) * sizeof(float));
}

Range ShardedLaneSum::piece_of(std::size_t rank, std::int64_t piece) const {
    Range const shard = shards_[rank];
    return shard.intersect({shard.begin + piece * piece_elements, shard.begin + (piece + 1) * piece_elements});
}

void ShardedLaneSum::add_turn(std::int64_t turn, TensorView gradient) {
    SELVAGE_CHECK(has_lane(turn) != gradient.empty(), "a gradient of {} elements in turn {}", gradient.elements(),
                  turn);
    auto const me = static_cast<std::size_t>(data_.rank());
    std::int64_t largest = 0;
    for (Range const shard : shards_) largest = std::max(largest, shard.size());
    LaneAccumulator const before = accumulator_;
    for (std::int64_t piece = 0; piece * piece_elements < largest || piece == 0; ++piece) {
        Range const mine = piece_of(me, piece);
        auto* const send = static_cast<std::byte*>(send_.at_least(0));
        auto* const received = static_cast<std::byte*>(received_.at_least(0));
        std::size_t sent = 0, expected = 0;
        for (std::size_t r = 0; r < shards_.size(); ++r) {
            Range const theirs = gradient.empty() ? Range{} : piece_of(r, piece);
            if (theirs.size() > 0) copy_to_host(send + sent, gradient.rows(theirs.begin, theirs.end), stream_);
            send_counts_[r] = static_cast<std::size_t>(theirs.size()) * sizeof(float);
            bool const computes = turn * ranks() + static_cast<std::int64_t>(r) < lanes_;
            recv_counts_[r] = computes ? static_cast<std::size_t>(mine.size()) * sizeof(float) : 0;
            sent += send_counts_[r];
            expected += recv_counts_[r];
        }
        data_.all_to_all_v({send, sent}, send_counts_, {received, expected}, recv_counts_);
        // Every piece goes through the same sums.
        accumulator_ = before;
        Range const shard = shards_[me];
        add_piece(accumulator_, turn, {mine.begin - shard.begin, mine.end - shard.begin});
    }
}

void ShardedLaneSum::add_piece(LaneAccumulator& accumulator, std::int64_t turn, Range part) {
    part_ = part;
    auto const* from = static_cast<float const*>(received_.at_least(0));
    std::int64_t const end = std::min(lanes_, (turn + 1) * ranks());
    for (std::int64_t lane = turn * ranks(); lane < end; ++lane, from += part.size()) {
        TensorView const to = partial_[accumulator.begin_lane()];
        copy_to_device(to.rows(part.begin, part.end), from, stream_);
        accumulator.end_lane(lane);
    }
}

TensorView ShardedLaneSum::sum() const {
    auto const roots = accumulator_.roots();
    SELVAGE_CHECK(roots.size() == 1 && roots[0].first == 1, "{} sums after the last turn", roots.size());
    return partial_[roots[0].second];
}

}  // namespace selvage

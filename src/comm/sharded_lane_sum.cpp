// SPDX-License-Identifier: Apache-2.0
#include "comm/sharded_lane_sum.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace selvage {

ShardedLaneSum::ShardedLaneSum(Arena& arena, Communicator& data, std::int64_t lanes, std::vector<Range> shards)
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
          [this](std::size_t to, std::size_t from) {
              float* const sum = partial_[to].view().as<float>();
              float const* const added = partial_[from].view().as<float>();
              for (std::int64_t i = part_.begin; i < part_.end; ++i) sum[i] += added[i];
          }),
      send_counts_(shards_.size()),
      recv_counts_(shards_.size()) {
    // All buffers are made here: of lanes as a step has them.
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
        accumulator_.begin_lane();
        accumulator_.end_lane(lane);
    }
    accumulator_.reset();
    auto const piece =
        static_cast<std::size_t>(std::min(piece_elements, shards_[static_cast<std::size_t>(data.rank())].size()));
    received_.resize(piece * shards_.size());
    send_.reserve(static_cast<std::size_t>(piece_elements) * shards_.size());
}

Range ShardedLaneSum::piece_of(std::size_t rank, std::int64_t piece) const {
    Range const shard = shards_[rank];
    return shard.intersect({shard.begin + piece * piece_elements, shard.begin + (piece + 1) * piece_elements});
}

void ShardedLaneSum::add_turn(std::int64_t turn, std::span<float const> gradient) {
    SELVAGE_CHECK(has_lane(turn) != gradient.empty(), "a gradient of {} elements in turn {}", gradient.size(), turn);
    auto const me = static_cast<std::size_t>(data_.rank());
    std::int64_t largest = 0;
    for (Range const shard : shards_) largest = std::max(largest, shard.size());
    LaneAccumulator const before = accumulator_;
    for (std::int64_t piece = 0; piece * piece_elements < largest || piece == 0; ++piece) {
        send_.clear();
        Range const mine = piece_of(me, piece);
        for (std::size_t r = 0; r < shards_.size(); ++r) {
            Range const theirs = gradient.empty() ? Range{} : piece_of(r, piece);
            send_.insert(send_.end(), gradient.begin() + theirs.begin, gradient.begin() + theirs.end);
            send_counts_[r] = static_cast<std::size_t>(theirs.size()) * sizeof(float);
            bool const computes = turn * ranks() + static_cast<std::int64_t>(r) < lanes_;
            recv_counts_[r] = computes ? static_cast<std::size_t>(mine.size()) * sizeof(float) : 0;
        }
        data_.all_to_all_v(std::as_bytes(std::span(send_)), send_counts_, std::as_writable_bytes(std::span(received_)),
                           recv_counts_);
        // Every piece goes through the same sums.
        accumulator_ = before;
        Range const shard = shards_[me];
        add_piece(accumulator_, turn, {mine.begin - shard.begin, mine.end - shard.begin});
    }
}

void ShardedLaneSum::add_piece(LaneAccumulator& accumulator, std::int64_t turn, Range part) {
    part_ = part;
    float const* from = received_.data();
    std::int64_t const end = std::min(lanes_, (turn + 1) * ranks());
    for (std::int64_t lane = turn * ranks(); lane < end; ++lane, from += part.size()) {
        float* const to = partial_[accumulator.begin_lane()].view().as<float>();
        std::copy_n(from, part.size(), to + part.begin);
        accumulator.end_lane(lane);
    }
}

TensorView ShardedLaneSum::sum() const {
    auto const roots = accumulator_.roots();
    SELVAGE_CHECK(roots.size() == 1 && roots[0].first == 1, "{} sums after the last turn", roots.size());
    return partial_[roots[0].second];
}

}  // namespace selvage

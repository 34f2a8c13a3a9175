// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sum of a step's gradients over all lanes where no rank keeps more than one lane's whole gradient (ZeRO-2;
// Rajbhandari et al. 2020): lanes are dealt to the ranks in turns, and in each turn every rank gets its shard of that
// turn's lanes, piece by piece as they become final. It keeps log2(lanes) + 1 partial sums of its shard. The tree is
// that of comm/ordered.h, and so are the bits.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/piece_exchange.h"
#include "tensor/tensor.h"

namespace selvage {

class ShardedLaneSum {
  public:
    static constexpr std::int64_t piece_elements = PieceExchange::piece_elements;

    // shards: the elements that each rank owns, in rank order. add(to, from, stream) puts to += from into the stream;
    // it is called on the thread of the exchange or that of the caller. thread_begins: as PieceExchange's.
    // Collective. Arena and communicator must outlive this.
    using Add = std::function<void(TensorView to, TensorView from, Stream& stream)>;
    ShardedLaneSum(Arena& arena, Communicator& data, std::int64_t lanes, std::vector<Range> shards, Add add,
                   Overlap overlap = Overlap::yes, std::function<void()> thread_begins = {});

    // Turns of a step, in order: of lanes `turn` ranks .. of which rank r has turn * ranks + r, if there is one.
    std::int64_t turns() const { return (lanes_ + ranks() - 1) / ranks(); }
    std::int64_t lane_of(std::int64_t turn) const { return turn * ranks() + data_.rank(); }
    bool has_lane(std::int64_t turn) const { return lane_of(turn) < lanes_; }

    // Of a step: the sums of the one before are read no more.
    void begin();
    // gradient: of this rank's lane, full length, nothing of it final yet; empty where it has none. The sum's until
    // finish_turn() returns. Then as PieceExchange's calls.
    void begin_turn(std::int64_t turn, TensorView gradient);
    void final_from(std::int64_t first) { exchange_.final_from(first); }
    // What was put into the arena's stream before is final too.
    void finish_turn();
    void abandon(ExitCode code, std::string const& message) noexcept { exchange_.abandon(code, message); }
    // After the last turn: this rank's shard of the sum.
    TensorView sum() const;

    std::int64_t started_pieces() const { return exchange_.started_pieces(); }
    double seconds() const { return exchange_.seconds(); }

  private:
    std::int64_t ranks() const { return data_.size(); }
    Range shard() const { return shards_[static_cast<std::size_t>(data_.rank())]; }
    // Of the turn's lanes: values[lane], of this part of the shard.
    void add_part(Range part, std::vector<float const*> const& values);

    Communicator& data_;
    std::int64_t lanes_;
    std::vector<Range> shards_;
    std::vector<Tensor> partial_;
    LaneAccumulator before_, accumulator_;  // before the turn, and after it
    Stream callers_, stream_;
    std::int64_t turn_ = 0;
    Range part_;              // of the shard: what is being added
    PieceExchange exchange_;  // last: its thread uses the others
};

}  // namespace selvage

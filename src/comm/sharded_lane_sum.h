// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sum of a step's gradients over all lanes where no rank keeps more than one lane's whole gradient (ZeRO-2;
// Rajbhandari et al. 2020): lanes are dealt to the ranks in turns, and after each turn every rank gets its shard of
// that turn's lanes. It keeps log2(lanes) + 1 partial sums of its shard. The tree is that of comm/ordered.h, and so are
// the bits.
#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "comm/ordered.h"
#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace selvage {

class ShardedLaneSum {
  public:
    static constexpr std::int64_t piece_elements = std::int64_t{1} << 18;

    // shards: the elements that each rank owns, in rank order. add(to, from, stream) puts to += from into the stream.
    // Arena and communicator must outlive this.
    using Add = std::function<void(TensorView to, TensorView from, Stream& stream)>;
    ShardedLaneSum(Arena& arena, Communicator& data, std::int64_t lanes, std::vector<Range> shards, Add add);

    // Turns of a step, in order: of lanes `turn` ranks .. of which rank r has turn * ranks + r, if there is one.
    std::int64_t turns() const { return (lanes_ + ranks() - 1) / ranks(); }
    std::int64_t lane_of(std::int64_t turn) const { return turn * ranks() + data_.rank(); }
    bool has_lane(std::int64_t turn) const { return lane_of(turn) < lanes_; }

    void begin() { accumulator_.reset(); }
    // gradient: of this rank's lane, full length; empty where it has none. Collective.
    void add_turn(std::int64_t turn, TensorView gradient);
    // After the last turn: this rank's shard of the sum.
    TensorView sum() const;

  private:
    std::int64_t ranks() const { return data_.size(); }
    Range piece_of(std::size_t rank, std::int64_t piece) const;
    void add_piece(LaneAccumulator& accumulator, std::int64_t turn, Range part);

    Communicator& data_;
    std::int64_t lanes_;
    std::vector<Range> shards_;
    std::vector<Tensor> partial_;
    LaneAccumulator accumulator_;
    Stream stream_;
    HostBuffer send_, received_;
    std::vector<std::size_t> send_counts_, recv_counts_;
    Range part_;  // of the shard: what is being added
};

}  // namespace selvage

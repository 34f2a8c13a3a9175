// SPDX-License-Identifier: Apache-2.0
#pragma once
// ShardExchange in the streams of a device.
#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "comm/device_collectives.h"
#include "comm/shard_exchange.h"

namespace selvage {

// A piece that is final is summed by all ranks, each a part of it: an all-to-all brings every rank its part of what the
// others have, kernels add it up along the tree, and the sums go to the owner of the piece. So all ranks send and
// receive all the time, whoever the owner is. All of it is put into one stream beside the arena's, with events between
// the two; the host waits in finish() alone. The order of the calls on the collectives is that of the pieces, on every
// rank: between begin() and finish() nobody else may use them.
class DeviceShardExchange final : public ShardExchange {
  public:
    using Add = std::function<void(TensorView to, TensorView from, Stream& stream)>;
    static constexpr std::int64_t usual_piece = std::int64_t{1} << 22;  // elements

    // As make_shard_exchange(). Where the collectives do not only fill streams, every call waits for other ranks.
    DeviceShardExchange(Arena& arena, std::shared_ptr<DeviceCollectives> collectives, std::int64_t lanes,
                        std::vector<Range> const& shards, Add add, std::int64_t piece_elements = usual_piece);

    void begin(std::vector<Row> rows, OnSum on_sum = {}) override;
    void final_from(std::int64_t first) override;
    void finish() override;
    void abandon(ExitCode code, std::string const& message) noexcept override;
    std::int64_t started_pieces() const override { return started_.load(); }
    double seconds() const override { return seconds_; }

  private:
    struct Piece {
        Range elements;  // of the flat vector
        std::size_t owner = 0;
    };
    // Elements of one buffer that are added to those of another: both are numbers of rows, or of received parts.
    struct Addition {
        std::size_t to = 0, from = 0;
    };

    void plan_sums();
    std::size_t plan_sum(LaneNode node);
    std::vector<Row> merge_rows(std::vector<Row> const& rows);
    void hear_of_failure();
    void start(Piece const& piece);
    void exchange_roots(Piece const& piece);
    void send_sums(Piece const& piece);
    std::size_t part_bytes(Piece const& piece, std::size_t rank) const;
    std::span<std::byte> bytes_of(float* values, std::int64_t elements) const;
    void add(float* to, float* from, std::int64_t elements);

    std::shared_ptr<DeviceCollectives> collectives_;
    std::unique_ptr<Communicator> control_;  // for news of failures
    Device& device_;
    Stream main_, stream_;
    Event final_event_;
    Add add_;
    std::int64_t lanes_;
    std::size_t ranks_, rank_;
    Range shard_;
    std::vector<std::vector<LaneNode>> nodes_;  // by rank: the roots of what it has
    std::vector<Piece> pieces_;                 // last first
    std::vector<LaneNode> slots_;               // of what is received, in the order in which it comes
    std::size_t turns_ = 0;                     // all-to-alls of a piece: the most roots that a rank has
    std::vector<Addition> sums_;                // of slots, in order
    std::size_t sum_slot_ = 0;                  // where they end
    Tensor received_;                           // this rank's part of a piece, from all

    std::vector<Row> rows_, roots_;
    std::vector<Addition> merges_;  // of rows, in order
    OnSum on_sum_;
    std::int64_t final_from_ = 0;
    std::size_t next_ = 0;  // of pieces_
    std::atomic<std::int64_t> started_ = 0;
    double seconds_ = 0;
    std::exception_ptr failure_;
    std::vector<std::size_t> send_counts_, recv_counts_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sum of a step's gradients over all lanes, cut over the ranks, made while the last lane is still being computed.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/ordered.h"
#include "comm/process_grid.h"
#include "device/arena.h"
#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace selvage {

// A flat fp32 vector is cut into pieces, each within the shard of one rank. A piece that is final on the ranks is
// summed over the tree of the lanes (comm/ordered.h), and the sum goes to its owner. Pieces go from the end of the
// vector to its beginning on every rank: a backward pass finishes its gradients in about that order.
class ShardExchange {
  public:
    virtual ~ShardExchange() = default;
    ShardExchange() = default;
    ShardExchange(ShardExchange const&) = delete;
    ShardExchange& operator=(ShardExchange const&) = delete;

    using Row = LaneRow;
    // Starts a step. rows: of all lanes of this rank, in lane order; nothing of them is final yet. Right children need
    // not be added to their left siblings: that happens here, in the buffers of the left ones. Rows are the exchange's
    // until finish() returns, but for the elements that are not final. Final is what the arena's stream has been given
    // all work of.
    // on_sum: called for each part of the shard, as positions in it, when its sum is in the last row; on a thread of
    // the exchange or that of the caller, one call at a time.
    using OnSum = std::function<void(Range)>;
    virtual void begin(std::vector<Row> rows, OnSum on_sum = {}) = 0;
    // The elements from `first` on are final in all rows. Throws what another rank gave up with.
    virtual void final_from(std::int64_t first) = 0;
    // All elements are final. Returns when the last row holds the sums in this rank's shard, and the rows are free.
    // Throws as final_from() does.
    virtual void finish() = 0;
    // For a rank that cannot finish the step that others are in: tells them why; they throw it, with this rank's name,
    // from their next call. The exchange is of no use afterwards. Does not wait for anyone. Never throws.
    virtual void abandon(ExitCode code, std::string const& message) noexcept = 0;

    // Pieces of this step that this rank had sent, or had found to be final and its own, so far. Any thread.
    virtual std::int64_t started_pieces() const = 0;
    // Time from the beginning that finish() took when the work of the arena's stream was done: what the backward pass
    // did not hide.
    virtual double seconds() const = 0;
};

// Between the ranks of the data axis: in the GPUs' streams where the grid has NCCL, else by a thread and MPI
// (comm/device_shard_exchange.h, comm/host_shard_exchange.h); the bits are the same. Collective. shards: the elements
// that each rank owns, in rank order. add(to, from, stream) puts to += from into the stream. thread_begins: called on
// the thread, if one is made, before anything else. Grid and arena must outlive the exchange.
std::unique_ptr<ShardExchange> make_shard_exchange(
    Arena& arena, ProcessGrid const& grid, std::int64_t lanes, std::vector<Range> const& shards,
    std::function<void(TensorView to, TensorView from, Stream& stream)> add, std::function<void()> thread_begins = {});

}  // namespace selvage

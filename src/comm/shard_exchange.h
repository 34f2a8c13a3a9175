// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sum of a step's gradients over all lanes, cut over the ranks, made while the last lane is still being computed.
#include <functional>
#include <string>
#include <vector>

#include "comm/piece_exchange.h"
#include "comm/tree_sum.h"

namespace selvage {

// What the ranks have of the tree over the lanes (see ordered.h) is exchanged piece by piece; the owner of a piece adds
// it up. The bits are the same with and without overlap. Calls as PieceExchange's.
class ShardExchange {
  public:
    static constexpr std::int64_t piece_elements = PieceExchange::piece_elements;
    using Row = PieceExchange::Row;

    ShardExchange(Communicator& data, std::int64_t lanes, std::vector<Range> const& shards,
                  Overlap overlap = Overlap::yes, std::function<void()> thread_begins = {}, Device* device = nullptr);

    // on_sum: called for each part of the shard, as positions in it, when its sum is in the last row; on the thread of
    // the exchange or that of the caller, one call at a time.
    using OnSum = std::function<void(Range)>;
    void begin(std::vector<Row> rows, OnSum on_sum = {});
    void final_from(std::int64_t first) { exchange_.final_from(first); }
    // Returns when the last row holds the sums in this rank's shard.
    void finish() { exchange_.finish(); }
    void abandon(ExitCode code, std::string const& message) noexcept { exchange_.abandon(code, message); }
    std::int64_t started_pieces() const { return exchange_.started_pieces(); }
    double seconds() const { return exchange_.seconds(); }

  private:
    void add_up(PieceExchange::Arrived const& arrived, float* last_row, OnSum const& on_sum);

    std::vector<std::vector<LaneNode>> nodes_;  // by rank
    std::int64_t shard_begin_;
    TreeSum<float> tree_;
    PieceExchange exchange_;  // last: its thread uses the others
};

}  // namespace selvage

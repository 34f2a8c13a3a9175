// SPDX-License-Identifier: Apache-2.0
#pragma once
// ShardExchange by MPI, on the host.
#include <functional>
#include <string>
#include <vector>

#include "comm/piece_exchange.h"
#include "comm/shard_exchange.h"
#include "comm/tree_sum.h"

namespace selvage {

// What the ranks have of the tree is exchanged piece by piece; the owner of a piece adds it up. The bits are the same
// with and without overlap. See PieceExchange.
class HostShardExchange final : public ShardExchange {
  public:
    static constexpr std::int64_t piece_elements = PieceExchange::piece_elements;

    // As make_shard_exchange(); arena: of the rows (null: they are in the host's memory).
    HostShardExchange(Communicator& data, std::int64_t lanes, std::vector<Range> const& shards,
                      Overlap overlap = Overlap::yes, std::function<void()> thread_begins = {}, Arena* arena = nullptr);

    void begin(std::vector<Row> rows, OnSum on_sum = {}) override;
    void final_from(std::int64_t first) override { exchange_.final_from(first); }
    void finish() override { exchange_.finish(); }
    void abandon(ExitCode code, std::string const& message) noexcept override { exchange_.abandon(code, message); }
    std::int64_t started_pieces() const override { return exchange_.started_pieces(); }
    double seconds() const override { return exchange_.seconds(); }

  private:
    void add_up(PieceExchange::Arrived const& arrived, float* last_row, OnSum const& on_sum);

    std::vector<std::vector<LaneNode>> nodes_;  // by rank
    std::int64_t shard_begin_;
    TreeSum<float> tree_;
    PieceExchange exchange_;  // last: its thread uses the others
};

}  // namespace selvage

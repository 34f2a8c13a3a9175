// SPDX-License-Identifier: Apache-2.0
#include "comm/host_shard_exchange.h"

#include <utility>

namespace selvage {
namespace {

std::vector<std::vector<LaneNode>> subtrees(std::int64_t lanes, int ranks) {
    EvenSplit const split(lanes, ranks);
    std::vector<std::vector<LaneNode>> nodes;
    for (int r = 0; r < ranks; ++r) nodes.push_back(subtree_roots(split.part(r), lanes));
    return nodes;
}

std::size_t rows_of_others(std::vector<std::vector<LaneNode>> const& nodes, int rank) {
    std::size_t rows = 0;
    for (std::size_t r = 0; r < nodes.size(); ++r) rows += r == static_cast<std::size_t>(rank) ? 0 : nodes[r].size();
    return rows;
}

}  // namespace

HostShardExchange::HostShardExchange(Communicator& data, std::int64_t lanes, std::vector<Range> const& shards,
                                     Overlap overlap, std::function<void()> thread_begins, Arena* arena)
    : nodes_(subtrees(lanes, data.size())),
      shard_begin_(shards[static_cast<std::size_t>(data.rank())].begin),
      tree_(lanes),
      exchange_(data, shards, rows_of_others(nodes_, data.rank()), overlap, std::move(thread_begins), arena) {}

void HostShardExchange::begin(std::vector<Row> rows, OnSum on_sum) {
    float* const last_row = rows.back().values;
    exchange_.begin(std::move(rows), nodes_,
                    [this, last_row, on_sum = std::move(on_sum)](PieceExchange::Arrived const& arrived) {
                        add_up(arrived, last_row, on_sum);
                    });
}

void HostShardExchange::add_up(PieceExchange::Arrived const& arrived, float* last_row, OnSum const& on_sum) {
    Range const elements = arrived.elements;
    for (Row const& row : arrived.rows) tree_.set_row(row.node, row.values);
    std::span<float> const sum(arrived.rows[arrived.own_end - 1].values, static_cast<std::size_t>(elements.size()));
    tree_.sum(sum);
    if (arrived.stream != nullptr) {
        arrived.stream->queue()->copy_to_device(last_row + elements.begin, sum.data(), sum.size_bytes());
        arrived.stream->synchronize();
    }
    if (on_sum) on_sum({elements.begin - shard_begin_, elements.end - shard_begin_});
}

}  // namespace selvage

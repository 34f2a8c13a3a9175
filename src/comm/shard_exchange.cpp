// SPDX-License-Identifier: Apache-2.0
#include "comm/shard_exchange.h"

#include <utility>

#include "comm/device_shard_exchange.h"
#include "comm/host_shard_exchange.h"

namespace selvage {

std::unique_ptr<ShardExchange> make_shard_exchange(
    Arena& arena, ProcessGrid const& grid, std::int64_t lanes, std::vector<Range> const& shards,
    std::function<void(TensorView to, TensorView from, Stream& stream)> add, std::function<void()> thread_begins) {
    auto collectives = grid.collectives(Axis::data, arena.device());
    if (collectives->only_streams())
        return std::make_unique<DeviceShardExchange>(arena, std::move(collectives), lanes, shards, std::move(add));
    return std::make_unique<HostShardExchange>(grid.data(), lanes, shards, Overlap::yes, std::move(thread_begins),
                                               &arena);
}

}  // namespace selvage

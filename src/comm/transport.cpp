// SPDX-License-Identifier: Apache-2.0
#include "comm/transport.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "comm/nccl/nccl_collectives.h"

namespace selvage {
namespace {

using Nccl = RankDevice::Nccl;

bool share_a_gpu(RankDevice const& a, RankDevice const& b) {
    return a.uuid == b.uuid || (a.node == b.node && a.place == b.place);
}

// The node of rank `b`, which shares a GPU with another of its ranks.
std::string of_shared(std::span<RankDevice const> ranks, std::size_t b) {
    std::vector<std::size_t> on_node, first_on_gpu;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
        if (ranks[r].node != ranks[b].node) continue;
        on_node.push_back(r);
        if (std::ranges::none_of(first_on_gpu, [&](std::size_t other) { return share_a_gpu(ranks[r], ranks[other]); }))
            first_on_gpu.push_back(r);
    }
    auto const gpus = std::max<std::size_t>(first_on_gpu.size(), static_cast<std::size_t>(ranks[b].gpus));
    return fmt::format("node {} has {} ranks ({}) on {} of its {} {}", ranks[b].node_name.data(), on_node.size(),
                       fmt::join(on_node, ", "), first_on_gpu.size(), gpus, gpus == 1 ? "GPU" : "GPUs");
}

// Empty: they have it.
std::string why_not_nccl(std::span<RankDevice const> ranks) {
    for (std::size_t r = 0; r < ranks.size(); ++r) {
        if (ranks[r].nccl == Nccl::not_on_a_gpu) return fmt::format("rank {} computes without a GPU", r);
        if (ranks[r].nccl == Nccl::not_built) return "this program was built without NCCL";
    }
    for (std::size_t b = 0; b < ranks.size(); ++b)
        for (std::size_t a = 0; a < b; ++a)
            if (share_a_gpu(ranks[a], ranks[b])) return of_shared(ranks, b);
    return "";
}

std::string remedy(std::span<RankDevice const> ranks) {
    bool const has_it = std::ranges::all_of(ranks, [](RankDevice const& rank) { return rank.nccl == Nccl::usable; });
    char const* const first = has_it ? "start one rank for each GPU" : "use a build with NCCL on nodes with GPUs";
    return fmt::format("{}, or set grid.transport = \"automatic\"", first);
}

RankDevice this_rank(Communicator& world, Device& device) {
    RankDevice mine;
    auto const node = world.split_by_node();
    mine.node = static_cast<std::int32_t>(min_over(*node, world.rank()));
    mine.gpus = count_gpus();
    if (gethostname(mine.node_name.data(), mine.node_name.size() - 1) != 0) mine.node_name.fill('\0');
    if (device.kind() == DeviceKind::cpu || mine.gpus == 0) return mine;  // the processor, or emulated
#ifdef SELVAGE_NCCL
    mine.nccl = Nccl::usable;
    GpuIdentity const gpu = gpu_identity();
    mine.uuid = gpu.uuid;
    mine.place = gpu.place;
#else
    mine.nccl = Nccl::not_built;
#endif
    return mine;
}

}  // namespace

TransportChoice choose_transport(std::span<RankDevice const> ranks, Transport wanted) {
    if (wanted == Transport::staged) return {Transport::staged, "grid.transport is \"staged\"", false};
    std::string const why_not = why_not_nccl(ranks);
    if (why_not.empty()) return {Transport::nccl, "", false};
    if (wanted == Transport::automatic) return {Transport::staged, why_not, false};
    return {Transport::staged,
            fmt::format("grid.transport is \"nccl\" (staging is off), but {}; {}", why_not, remedy(ranks)), true};
}

TransportChoice choose_transport(Communicator& world, Device& device, Transport wanted) {
    RankDevice mine;
    agree(world, [&] { mine = this_rank(world, device); });
    std::vector<RankDevice> all(static_cast<std::size_t>(world.size()));
    world.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
    TransportChoice choice = choose_transport(all, wanted);
    if (choice.refused) fail(ExitCode::bad_data, "{}", choice.reason);
    return choice;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// How device memory goes from rank to rank: what is wanted, what the ranks have, and what follows from that.
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "comm/communicator.h"
#include "device/device.h"

namespace selvage {

// staged: through host memory and MPI, for any number of ranks on a GPU. nccl: by NCCL, which needs a GPU for every
// rank. automatic: NCCL where that is so for every rank of the job, else staged. No result depends on it.
enum class Transport : std::uint8_t { automatic, staged, nccl };

// What a rank says of itself.
struct RankDevice {
    enum class Nccl : std::uint8_t { usable, not_on_a_gpu, not_built };
    using Identity = std::array<std::byte, 16>;
    Nccl nccl = Nccl::not_on_a_gpu;
    std::int32_t node = 0;             // the lowest rank of the job on the same node
    std::int32_t gpus = 0;             // that the process sees
    std::array<char, 64> node_name{};  // ends in 0
    Identity uuid{};                   // of its GPU
    Identity place{};                  // of its GPU in the node, by which NCCL tells GPUs
};

struct TransportChoice {
    Transport transport = Transport::staged;  // staged or nccl
    std::string reason;                       // why not NCCL, where that was not chosen
    bool refused = false;                     // what was wanted cannot be; the reason says what to do
};

// ranks: of the job, in rank order.
TransportChoice choose_transport(std::span<RankDevice const> ranks, Transport wanted);

// The same for the job at hand, all of whose ranks get the same answer: what was refused is Error(bad_data) on every
// one of them. Collective over `world`. Makes no call of NCCL.
TransportChoice choose_transport(Communicator& world, Device& device, Transport wanted);

}  // namespace selvage

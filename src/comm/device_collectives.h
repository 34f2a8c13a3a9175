// SPDX-License-Identifier: Apache-2.0
#pragma once
// Collectives on device memory, ordered on a stream. They move bytes and add nothing: sums are kernels', in rank order.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "comm/communicator.h"
#include "device/device.h"

namespace selvage {

// All calls are collective over the communicator and come in the same order on every rank. Spans are device memory;
// they belong to the call until the stream has passed it.
class DeviceCollectives {
  public:
    virtual ~DeviceCollectives() = default;
    // recv has as many times the bytes of send as there are ranks, in rank order; `send` may be its own part of recv.
    virtual void all_gather(std::span<std::byte const> send, std::span<std::byte> recv, Stream& stream) = 0;
    // Rank r gets send_counts[r] bytes from here; from rank r come recv_counts[r]; both in rank order.
    virtual void all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                              std::span<std::byte> recv, std::span<std::size_t const> recv_counts, Stream& stream) = 0;
    virtual void broadcast(std::span<std::byte> bytes, int root, Stream& stream) = 0;
    virtual std::string_view transport() const = 0;  // for the log: "MPI", "MPI through host memory", "NCCL"
};

// staged: copied to host memory, sent by MPI and copied back; these calls wait for the stream.
enum class Transport : std::uint8_t { automatic, staged, nccl };

// Collective. Memory of the CPU goes by the communicator itself. Memory of a GPU goes by NCCL; staged where `wanted`
// so, where NCCL is not built in, or where two of the ranks have the same GPU, which NCCL refuses. nccl where it cannot
// be is Error(bad_data). `communicator` and `device` must outlive the result.
std::unique_ptr<DeviceCollectives> make_device_collectives(Communicator& communicator, Device& device,
                                                           Transport wanted = Transport::automatic);

// Whether no two ranks have the same identity, which has as many bytes on all of them. Collective.
bool all_differ(Communicator& communicator, std::span<std::byte const> identity);

}  // namespace selvage

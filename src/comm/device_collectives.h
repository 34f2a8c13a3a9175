// SPDX-License-Identifier: Apache-2.0
#pragma once
// Collectives on device memory, ordered on a stream. They move bytes and add nothing: sums are kernels', in rank order.
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "comm/communicator.h"
#include "comm/transport.h"
#include "device/device.h"

namespace selvage {

// All calls but those that only ask, and abort(), are collective over ranks() and come in the same order on every rank,
// in whichever streams. Spans are device memory; they belong to the call until the stream has passed it, and what the
// call brings is there for what comes next in the stream. Any counts, also none.
class DeviceCollectives {
  public:
    virtual ~DeviceCollectives() = default;
    virtual Communicator& ranks() const = 0;
    // In place: all ranks' parts of `all`, which lie in it in rank order, counts[r] bytes from rank r.
    virtual void all_gather(std::span<std::byte> all, std::span<std::size_t const> counts, Stream& stream) = 0;
    // recv: what each rank sends, in rank order; all send as much.
    virtual void all_gather(std::span<std::byte> recv, std::span<std::byte const> send, Stream& stream) = 0;
    // Rank r gets send_counts[r] bytes from here; from rank r come recv_counts[r]; both in rank order.
    virtual void all_to_all_v(std::span<std::byte> recv, std::span<std::size_t const> recv_counts,
                              std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                              Stream& stream) = 0;
    // Calls only put work into the stream: no rank waits in them for another (but in the first ones, which connect
    // them), and they may be recorded. Otherwise what a rank waits is in ranks().seconds(). Where this is true nothing
    // counts it: it goes on beside what else the GPU does, and the host does not know.
    virtual bool only_streams() const = 0;
    // For a rank that knows that another will not come: what is under way ends, and so does the use of this. Any
    // thread.
    virtual void abort() noexcept {}
    virtual std::string_view transport() const = 0;  // for the log: "MPI", "MPI through host memory", "NCCL"
};

// staged, or nccl, where choose_transport() allows it; memory of the CPU goes by the communicator itself. Collective.
// `communicator` and `device` must outlive the result.
std::unique_ptr<DeviceCollectives> make_device_collectives(Communicator& communicator, Device& device,
                                                           Transport transport = Transport::staged);

}  // namespace selvage

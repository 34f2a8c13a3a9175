// SPDX-License-Identifier: Apache-2.0
#pragma once
// Collectives on tensors of the device, along an axis of the grid.
#include <cstddef>
#include <memory>
#include <span>

#include "comm/device_collectives.h"
#include "comm/process_grid.h"
#include "tensor/tensor.h"

namespace selvage {

class TensorCollectives {
  public:
    // By what the grid has for the axis. Grid and device must outlive this.
    TensorCollectives(ProcessGrid const& grid, Axis axis, Device& device) : bytes_(grid.collectives(axis, device)) {}
    Communicator& ranks() const { return bytes_->ranks(); }
    // See DeviceCollectives.
    bool only_streams() const { return bytes_->only_streams(); }

    // The calls are collective; what they give is there for what comes next in the stream.
    // In place: all ranks' parts of `all`, which lie in it in rank order, counts[r] bytes from rank r.
    void all_gather(TensorView all, std::span<std::size_t const> counts, Stream& stream) {
        bytes_->all_gather(bytes_of(all), counts, stream);
    }
    // recv: what each rank sends, in rank order; all send as much.
    void all_gather(TensorView recv, TensorView send, Stream& stream) {
        bytes_->all_gather(bytes_of(recv), bytes_of(send), stream);
    }
    // Bytes as in DeviceCollectives::all_to_all_v.
    void all_to_all(TensorView recv, std::span<std::size_t const> recv_counts, TensorView send,
                    std::span<std::size_t const> send_counts, Stream& stream) {
        bytes_->all_to_all_v(bytes_of(recv), recv_counts, bytes_of(send), send_counts, stream);
    }

  private:
    static std::span<std::byte> bytes_of(TensorView tensor) {
        return {static_cast<std::byte*>(tensor.raw()),
                static_cast<std::size_t>(tensor.elements()) * size_of(tensor.dtype())};
    }

    std::shared_ptr<DeviceCollectives> bytes_;
};

}  // namespace selvage

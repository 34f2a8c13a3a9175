// SPDX-License-Identifier: Apache-2.0
#pragma once
// Collectives on tensors, wherever they lie. Host memory goes to the communicator as it is. Device memory is staged: it
// goes through host memory, which is made once and grows, so that any number of ranks may share a GPU. A transport that
// reads device memory itself belongs here too.
#include <cstddef>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage {

class TensorCollectives {
  public:
    // Both must outlive this.
    TensorCollectives(Communicator& ranks, Device& device) : ranks_(ranks), down_(device), up_(device) {}
    Communicator& ranks() const { return ranks_; }

    // The calls are collective; what they give is there for what comes next in the stream.
    // In place: all ranks' parts of `all`, which lie in it in rank order, counts[r] bytes from rank r.
    void all_gather(TensorView all, std::span<std::size_t const> counts, Stream& stream);
    // recv: what each rank sends, in rank order; all send as much.
    void all_gather(TensorView recv, TensorView send, Stream& stream);
    // Bytes as in Communicator::all_to_all_v.
    void all_to_all(TensorView recv, std::span<std::size_t const> recv_counts, TensorView send,
                    std::span<std::size_t const> send_counts, Stream& stream);

  private:
    void all_gather_piece(std::byte* all, std::span<std::size_t const> counts, std::size_t first, Stream& stream);
    std::span<std::byte const> staged(TensorView tensor, Stream& stream);

    Communicator& ranks_;
    HostBuffer down_, up_;
    std::vector<std::size_t> piece_counts_;
};

}  // namespace selvage

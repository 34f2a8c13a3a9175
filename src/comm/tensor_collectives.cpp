// SPDX-License-Identifier: Apache-2.0
#include "comm/tensor_collectives.h"

#include <algorithm>

#include "tensor/host_copy.h"

namespace selvage {
namespace {

constexpr std::size_t piece_bytes = std::size_t{16} << 20;  // of a rank, staged at a time

std::span<std::byte> bytes_of(TensorView tensor) {
    return {static_cast<std::byte*>(tensor.raw()),
            static_cast<std::size_t>(tensor.elements()) * size_of(tensor.dtype())};
}

bool is_on_host(TensorView tensor) { return tensor.device() == DeviceKind::cpu; }

}  // namespace

void TensorCollectives::all_gather(TensorView all, std::span<std::size_t const> counts, Stream& stream) {
    std::span<std::byte> const bytes = bytes_of(all);
    auto const me = static_cast<std::size_t>(ranks_.rank());
    if (is_on_host(all)) {
        std::size_t own = 0;
        for (std::size_t r = 0; r < me; ++r) own += counts[r];
        return ranks_.all_gather_v(bytes.subspan(own, counts[me]), bytes, counts);
    }
    std::size_t const most = *std::ranges::max_element(counts);
    for (std::size_t first = 0; first < most; first += piece_bytes)
        all_gather_piece(bytes.data(), counts, first, stream);
}

// Bytes `first` and so on of each rank's part.
void TensorCollectives::all_gather_piece(std::byte* all, std::span<std::size_t const> counts, std::size_t first,
                                         Stream& stream) {
    auto const me = static_cast<std::size_t>(ranks_.rank());
    piece_counts_.clear();
    std::size_t total = 0, own = 0;
    for (std::size_t r = 0; r < counts.size(); ++r) {
        if (r == me) own = total;
        piece_counts_.push_back(std::min(piece_bytes, counts[r] - std::min(first, counts[r])));
        total += piece_counts_.back();
    }
    std::span<std::byte> const host(static_cast<std::byte*>(up_.at_least(total)), total);
    // part(r): where rank r's bytes of this piece lie in `all`, and where in `host`.
    auto const for_each_part = [&](auto const& use) {
        std::byte* there = all;
        std::byte* here = host.data();
        for (std::size_t r = 0; r < counts.size(); ++r) {
            if (piece_counts_[r] > 0) use(r, there + first, here);
            there += counts[r];
            here += piece_counts_[r];
        }
    };
    for_each_part([&](std::size_t r, std::byte* there, std::byte* here) {
        if (r == me) stream.queue()->download(here, there, piece_counts_[r]);
    });
    ranks_.all_gather_v(host.subspan(own, piece_counts_[me]), host, piece_counts_);
    for_each_part([&](std::size_t r, std::byte* there, std::byte* here) {
        if (r != me) stream.queue()->copy_to_device(there, here, piece_counts_[r]);
    });
}

std::span<std::byte const> TensorCollectives::staged(TensorView tensor, Stream& stream) {
    std::size_t const bytes = bytes_of(tensor).size();
    void* const host = down_.at_least(bytes);
    copy_to_host(host, tensor, stream);
    return {static_cast<std::byte const*>(host), bytes};
}

void TensorCollectives::all_gather(TensorView recv, TensorView send, Stream& stream) {
    if (is_on_host(recv)) return ranks_.all_gather(bytes_of(send), bytes_of(recv));
    std::size_t const bytes = bytes_of(recv).size();
    std::span<std::byte> const host(static_cast<std::byte*>(up_.at_least(bytes)), bytes);
    ranks_.all_gather(staged(send, stream), host);
    copy_to_device(recv, host.data(), stream);
}

void TensorCollectives::all_to_all(TensorView recv, std::span<std::size_t const> recv_counts, TensorView send,
                                   std::span<std::size_t const> send_counts, Stream& stream) {
    if (is_on_host(recv)) return ranks_.all_to_all_v(bytes_of(send), send_counts, bytes_of(recv), recv_counts);
    std::size_t const bytes = bytes_of(recv).size();
    std::span<std::byte> const host(static_cast<std::byte*>(up_.at_least(bytes)), bytes);
    ranks_.all_to_all_v(staged(send, stream), send_counts, host, recv_counts);
    copy_to_device(recv, host.data(), stream);
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "comm/device_collectives.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "comm/nccl/nccl_collectives.h"
#include "tensor/layout.h"

namespace selvage {
namespace {

constexpr std::size_t piece_bytes = std::size_t{16} << 20;  // of each rank, staged at a time

using Counts = std::span<std::size_t const>;

std::size_t sum_of(Counts counts) { return std::accumulate(counts.begin(), counts.end(), std::size_t{0}); }

class HostCollectives final : public DeviceCollectives {
  public:
    explicit HostCollectives(Communicator& communicator) : ranks_(communicator) {}
    Communicator& ranks() const override { return ranks_; }
    void all_gather(std::span<std::byte> all, Counts counts, Stream&) override {
        auto const me = static_cast<std::size_t>(ranks_.rank());
        ranks_.all_gather_v(all.subspan(sum_of(counts.first(me)), counts[me]), all, counts);
    }
    void all_gather(std::span<std::byte> recv, std::span<std::byte const> send, Stream&) override {
        ranks_.all_gather(send, recv);
    }
    void all_to_all_v(std::span<std::byte> recv, Counts recv_counts, std::span<std::byte const> send,
                      Counts send_counts, Stream&) override {
        ranks_.all_to_all_v(send, send_counts, recv, recv_counts);
    }
    bool only_streams() const override { return false; }
    std::string_view transport() const override { return "MPI"; }

  private:
    Communicator& ranks_;
};

// The ranks' parts of a buffer, in rank order, and a piece of each, packed: what goes at a time.
struct Pieces {
    std::vector<std::size_t> counts;
    std::size_t total = 0;

    void take(Counts parts, std::size_t first) {
        counts.clear();
        total = 0;
        for (std::size_t const part : parts) {
            counts.push_back(std::min(piece_bytes, part - std::min(first, part)));
            total += counts.back();
        }
    }
    // copy(in the buffer, in the packed pieces, bytes) for those of `ranks`; neighbours in both go together.
    template <class Copy>
    void for_each(Counts parts, std::size_t first, Range ranks, Copy const& copy) const {
        std::size_t part = 0, piece = 0, from = 0, to = 0, bytes = 0;
        for (std::size_t r = 0; r < counts.size(); part += parts[r], piece += counts[r], ++r) {
            if (counts[r] == 0 || !ranks.contains(static_cast<std::int64_t>(r))) continue;
            if (bytes > 0 && (from + bytes != part + first || to + bytes != piece)) {
                copy(from, to, bytes);
                bytes = 0;
            }
            if (bytes == 0) {
                from = part + first;
                to = piece;
            }
            bytes += counts[r];
        }
        if (bytes > 0) copy(from, to, bytes);
    }
};

// Through host memory that copies are fast to, a piece of every rank's bytes at a time. Every call waits for the
// stream.
class StagedCollectives final : public DeviceCollectives {
  public:
    StagedCollectives(Communicator& communicator, Device& device)
        : ranks_(communicator), sent_(device), received_(device) {}
    Communicator& ranks() const override { return ranks_; }

    void all_gather(std::span<std::byte> all, Counts counts, Stream& stream) override {
        auto const me = static_cast<std::size_t>(ranks_.rank());
        gather(all, all.subspan(sum_of(counts.first(me)), counts[me]), counts, stream);
    }
    void all_gather(std::span<std::byte> recv, std::span<std::byte const> send, Stream& stream) override {
        equal_.assign(static_cast<std::size_t>(ranks_.size()), send.size());
        gather(recv, send, equal_, stream);
    }
    void all_to_all_v(std::span<std::byte> recv, Counts recv_counts, std::span<std::byte const> send,
                      Counts send_counts, Stream& stream) override {
        Range const all{0, ranks_.size()};
        std::size_t const longest = std::max(std::ranges::max(send_counts), std::ranges::max(recv_counts));
        for (std::size_t first = 0; first < longest; first += piece_bytes) {
            send_pieces_.take(send_counts, first);
            recv_pieces_.take(recv_counts, first);
            std::span<std::byte> const from = room(sent_, send_pieces_.total);
            std::span<std::byte> const to = room(received_, recv_pieces_.total);
            send_pieces_.for_each(send_counts, first, all, [&](std::size_t there, std::size_t here, std::size_t bytes) {
                stream.queue()->download(from.data() + here, send.data() + there, bytes);
            });
            ranks_.all_to_all_v(from, send_pieces_.counts, to, recv_pieces_.counts);
            recv_pieces_.for_each(recv_counts, first, all, [&](std::size_t there, std::size_t here, std::size_t bytes) {
                stream.queue()->copy_to_device(recv.data() + there, to.data() + here, bytes);
            });
        }
    }
    bool only_streams() const override { return false; }
    std::string_view transport() const override { return "MPI through host memory"; }

  private:
    static std::span<std::byte> room(HostBuffer& buffer, std::size_t bytes) {
        return {static_cast<std::byte*>(buffer.at_least(bytes)), bytes};
    }

    void gather(std::span<std::byte> recv, std::span<std::byte const> send, Counts counts, Stream& stream) {
        SELVAGE_CHECK(recv.size() == sum_of(counts), "all_gather of {} into {} bytes", sum_of(counts), recv.size());
        std::size_t const me = static_cast<std::size_t>(ranks_.rank());
        std::size_t const own = sum_of(counts.first(me));
        bool const in_place = send.data() == recv.data() + own;
        for (std::size_t first = 0; first < std::ranges::max(counts); first += piece_bytes) {
            recv_pieces_.take(counts, first);
            Counts const pieces(recv_pieces_.counts);
            std::span<std::byte> const host = room(received_, recv_pieces_.total);
            std::span<std::byte> const mine = host.subspan(sum_of(pieces.first(me)), pieces[me]);
            if (!mine.empty()) stream.queue()->download(mine.data(), send.data() + first, mine.size());
            ranks_.all_gather_v(mine, host, pieces);
            auto const up = [&](std::size_t there, std::size_t here, std::size_t bytes) {
                stream.queue()->copy_to_device(recv.data() + there, host.data() + here, bytes);
            };
            if (!in_place) {
                recv_pieces_.for_each(counts, first, {0, ranks_.size()}, up);
            } else {
                recv_pieces_.for_each(counts, first, {0, ranks_.rank()}, up);
                recv_pieces_.for_each(counts, first, {ranks_.rank() + 1, ranks_.size()}, up);
            }
        }
    }

    Communicator& ranks_;
    HostBuffer sent_, received_;
    Pieces send_pieces_, recv_pieces_;
    std::vector<std::size_t> equal_;
};

}  // namespace

std::unique_ptr<DeviceCollectives> make_device_collectives(Communicator& communicator, Device& device,
                                                           Transport transport) {
    if (device.kind() == DeviceKind::cpu) return std::make_unique<HostCollectives>(communicator);
#ifdef SELVAGE_NCCL
    if (transport == Transport::nccl) return make_nccl_collectives(communicator, device);
#endif
    SELVAGE_CHECK(transport == Transport::staged, "a transport that was not chosen");
    return std::make_unique<StagedCollectives>(communicator, device);
}

}  // namespace selvage

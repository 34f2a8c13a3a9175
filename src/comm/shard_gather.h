// SPDX-License-Identifier: Apache-2.0
#pragma once
// Buffers of which every rank has a part, made whole on all of them, one after the other, while the caller computes.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "comm/background.h"
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage {

class ShardGather {
  public:
    // Collective. Both must outlive this. Device memory goes through host memory, a few pieces at a time.
    ShardGather(Communicator& ranks, Device& device, Overlap overlap = Overlap::yes);
    // What is under way is given up.
    ~ShardGather() { background_->stop(); }
    ShardGather(ShardGather const&) = delete;
    ShardGather& operator=(ShardGather const&) = delete;

    // A gather, by its number.
    using Ticket = std::int64_t;
    // Starts one: parts lie in `all` in rank order, counts[r] bytes from rank r; this rank's part is there for what
    // comes next in `stream`, and all that is in it now has been done with `all`. Every rank starts the same gathers in
    // the same order; nobody waits here. `all` belongs to the gather until wait(). Throws what another rank failed
    // with.
    Ticket start(TensorView all, std::vector<std::size_t> counts, Stream& stream);
    // Returns when this gather is done, and all before it: `all` is whole, and may be used. At once where it was.
    void wait(Ticket ticket);
    bool is_done(Ticket ticket) const { return done_.load() >= ticket; }
    // For a rank that cannot start what the others wait for; see Background.
    void abandon(ExitCode code, std::string const& message) noexcept { background_->abandon(code, message); }

    // Time spent in wait(), from the beginning: what the computation did not hide.
    double seconds() const { return background_->seconds(); }

  private:
    // The same bytes of every rank's part: a gather is some of them.
    struct Piece {
        Ticket ticket = 0;
        std::byte* all = nullptr;
        std::shared_ptr<std::vector<std::size_t> const> counts;
        std::shared_ptr<Event const> ready;
        std::size_t first = 0;  // of each part
        bool is_last = false;   // of its gather
    };
    struct Moving {
        Piece piece;
        HostBuffer* staged = nullptr;  // null: in place
        std::vector<std::unique_ptr<Transfer>> transfers;
    };

    bool step();
    void begin(Moving& moving);
    bool advance(Moving& moving);
    // use(rank, place in device memory, place of the transport, bytes) for each rank with a part of the piece.
    template <class Use>
    void for_each_part(Moving const& moving, Use const& use) const;

    std::optional<Background> background_;  // first, as transfers go before its communicator
    std::size_t rank_, ranks_;
    Device& device_;
    std::optional<Stream> stream_;  // of copies, where device memory is not the host's
    std::vector<std::unique_ptr<HostBuffer>> staging_;
    // The background's lock guards the following.
    std::vector<HostBuffer*> free_staging_;
    std::deque<Piece> waiting_;
    std::deque<Moving> moving_;
    Ticket started_ = 0;
    std::atomic<Ticket> done_ = 0;  // read without it
};

}  // namespace selvage

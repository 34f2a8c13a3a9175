// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of a flat vector, cut over the ranks that own its parts, exchanged while they are still being computed.
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/background.h"
#include "comm/ordered.h"
#include "device/arena.h"
#include "tensor/layout.h"

namespace selvage {

// A flat fp32 vector is cut into pieces, each within the shard of one rank. A piece that is final on a rank goes to its
// owner at once, who is called with it when it is there from all. Pieces go from the end of the vector to its beginning
// on every rank: a backward pass finishes its gradients in about that order. A thread with a communicator of its own
// does the work between the calls; where MPI does not allow that, or Overlap::no asks for it, finish() does all of it.
class PieceExchange {
  public:
    static constexpr std::int64_t piece_elements = std::int64_t{1} << 18;

    // Collective. shards: the elements that each rank owns, in rank order. most_rows: of all other ranks together.
    // thread_begins: called on the thread, if one is made, before anything else. arena: in whose memory the rows are
    // (null: in the host's); they go through host memory, a few pieces at a time. `data` and the arena must outlive
    // the exchange.
    PieceExchange(Communicator& data, std::vector<Range> const& shards, std::size_t most_rows, Overlap overlap,
                  std::function<void()> thread_begins, Arena* arena);
    // Where a step was not finished the exchange is given up: see abandon().
    ~PieceExchange() { background_->stop(); }
    PieceExchange(PieceExchange const&) = delete;
    PieceExchange& operator=(PieceExchange const&) = delete;

    using Row = LaneRow;
    // A piece of this rank's shard, there from all ranks.
    struct Arrived {
        Range elements;                // of the flat vector
        std::vector<Row> const& rows;  // of these elements, in host memory, in rank order
        std::size_t own_end;           // behind this rank's
        Stream* stream;                // for copies to where this rank's rows are; null where those are they
    };
    // Called on the thread of the exchange or that of the caller, one call at a time.
    using OnPiece = std::function<void(Arrived const&)>;
    // Starts a step. rows: of all lanes of this rank, in lane order; nothing of them is final yet. Right children need
    // not be added to their left siblings: that happens here, in the buffers of the left ones, before rows are sent.
    // nodes: by rank, the roots of what it sums. Rows are the exchange's until finish() returns, but for the elements
    // that are not final. Final is what the arena's stream has been given all work of; final_from() waits for it.
    void begin(std::vector<Row> rows, std::vector<std::vector<LaneNode>> nodes, OnPiece on_piece);
    // The elements from `first` on are final in all rows. Throws what another rank gave up with.
    void final_from(std::int64_t first);
    // All elements are final. Returns when this rank's shard has come, and the rows are free. Throws as final_from()
    // does.
    void finish();
    // For a rank that cannot finish the step that others are in: tells them why; they throw it, with this rank's name,
    // from their next call. The exchange is of no use afterwards. Does not wait for anyone. Never throws.
    void abandon(ExitCode code, std::string const& message) noexcept { background_->abandon(code, message); }

    // Pieces of this step that this rank had sent, or had found to be final and its own, so far. Any thread.
    std::int64_t started_pieces() const { return started_.load(); }
    // Time spent in finish(), from the beginning: what the backward pass did not hide.
    double seconds() const { return background_->seconds(); }

  private:
    struct Piece {
        Range elements;  // of the flat vector
        int owner = 0;
    };
    // One of this rank's pieces under way: what the other ranks send of it.
    struct Slot {
        Piece piece;
        std::unique_ptr<float[]> values;
        std::vector<std::unique_ptr<Transfer>> transfers;
    };

    // Rows of a piece, copied from device memory, and how many sends read them.
    struct Staged {
        explicit Staged(Device& device) : values(device) {}
        HostBuffer values;
        int sends = 0;
    };
    struct Sending {
        std::unique_ptr<Transfer> transfer;
        Staged* staged;
    };

    bool progress();  // does what can be done without waiting; false: that was nothing
    void drop();
    bool may_start(Piece const& piece) const;
    void start(Piece const& piece);
    Staged* free_staged() const;
    std::vector<Row> rows_of(Range elements, Staged* staged);
    static std::vector<Row> merged(std::vector<Row> const& rows, std::int64_t width);
    void post_receives();
    void hand_over(Slot const& slot);
    bool done() const {
        return next_ == pieces_.size() && sends_.empty() && slots_in_use_.empty() && next_own_ == own_.size();
    }
    std::optional<Background> background_;  // first, as transfers go before its communicator
    std::size_t rank_;
    std::vector<Piece> pieces_, own_;  // last first; own_: those of this rank
    std::int64_t flat_size_ = 0;
    // Where rows are in device memory: the stream whose work makes them, that of copies, and the copies.
    std::optional<Stream> main_, stream_;
    std::vector<std::unique_ptr<Staged>> staged_;

    // The background's lock guards the following.
    std::vector<Row> rows_;
    std::vector<std::vector<LaneNode>> nodes_;
    OnPiece on_piece_;
    std::size_t next_ = 0;                        // of pieces_: those before have been started
    std::size_t next_own_ = 0;                    // of own_: those before have a slot, or had one
    std::size_t final_own_ = 0, handed_own_ = 0;  // of own_
    std::deque<Sending> sends_;
    std::deque<Slot> slots_in_use_;
    std::vector<Slot> free_slots_;

    std::atomic<std::int64_t> final_from_;  // of the rows
    std::atomic<std::int64_t> started_ = 0;
};

}  // namespace selvage

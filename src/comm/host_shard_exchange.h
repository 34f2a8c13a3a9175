// SPDX-License-Identifier: Apache-2.0
#pragma once
// ShardExchange by MPI, on the host.
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/shard_exchange.h"
#include "comm/tree_sum.h"

namespace selvage {

// A piece that is final on a rank goes to its owner at once, who adds up what the ranks have of the tree over the lanes
// when it is there from all. A thread with a communicator of its own does the work between the calls; where MPI does
// not allow that, or Overlap::no asks for it, finish() does all of it. The bits are the same.
class HostShardExchange final : public ShardExchange {
  public:
    enum class Overlap : std::uint8_t { no, yes };
    static constexpr std::int64_t piece_elements = std::int64_t{1} << 18;

    // As make_shard_exchange(). arena: of the rows (null: they are in the host's memory); device memory goes through
    // the host's, a few pieces at a time, and final_from() waits for the arena's stream.
    HostShardExchange(Communicator& data, std::int64_t lanes, std::vector<Range> const& shards,
                      Overlap overlap = Overlap::yes, std::function<void()> thread_begins = {}, Arena* arena = nullptr);
    // Where a step was not finished the exchange is given up: see abandon().
    ~HostShardExchange() override;

    void begin(std::vector<Row> rows, OnSum on_sum = {}) override;
    void final_from(std::int64_t first) override;
    void finish() override;
    void abandon(ExitCode code, std::string const& message) noexcept override;
    std::int64_t started_pieces() const override { return started_.load(); }
    double seconds() const override { return seconds_; }

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

    void work();      // of the thread
    bool progress();  // does what can be done without waiting; false: that was nothing
    bool hear_of_failure();
    bool may_start(Piece const& piece) const;
    void start(Piece const& piece);
    Staged* free_staged() const;
    std::vector<Row> rows_of(Range elements, Staged* staged);
    static std::vector<Row> merged(std::vector<Row> const& rows, std::int64_t width);
    void post_receives();
    void add_up(Slot const& slot);
    bool done() const {
        return next_ == pieces_.size() && sends_.empty() && slots_in_use_.empty() && next_own_ == own_.size();
    }
    void rethrow();  // with the lock held
    double seconds_ = 0;

    std::unique_ptr<Communicator> communicator_;
    std::size_t rank_;
    std::vector<std::vector<LaneNode>> nodes_;  // by rank: the roots of what it sums
    Range shard_;
    std::vector<Piece> pieces_, own_;  // last first; own_: those of this rank
    std::int64_t flat_size_ = 0;
    TreeSum<float> tree_;
    // Where rows are in device memory: the stream whose work makes them, that of copies, and the copies.
    std::optional<Stream> main_, stream_;
    std::vector<std::unique_ptr<Staged>> staged_;

    std::mutex mutex_;  // guards the following
    std::condition_variable wake_;
    std::vector<Row> rows_;
    std::function<void(Range)> on_sum_;
    std::size_t next_ = 0;                        // of pieces_: those before have been started
    std::size_t next_own_ = 0;                    // of own_: those before have a slot, or had one
    std::size_t final_own_ = 0, summed_own_ = 0;  // of own_
    std::deque<Sending> sends_;
    std::deque<Slot> slots_in_use_;
    std::vector<Slot> free_slots_;
    bool finishing_ = false;  // the caller of finish() does the work
    bool stopping_ = false;
    std::exception_ptr failure_;

    std::atomic<std::int64_t> final_from_;  // of the rows
    std::atomic<std::int64_t> started_ = 0;
    std::atomic<bool> failed_ = false;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A group of processes. Nothing here adds floating-point numbers: sums are ours (comm/ordered.h), in an order that does
// not depend on the number of ranks or on where a number lies in a buffer.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace selvage {

enum class Reduction : std::uint8_t { sum, min, max };

// A message that has arrived, see Communicator::poll.
struct Message {
    int source = 0;
    int tag = 0;
    std::vector<std::byte> bytes;
};

// Bytes on their way. Their buffer belongs to the transfer until done() has said true. One that is destroyed before is
// given up: nothing more may come into its buffer, and what had to be sent may not arrive.
class Transfer {
  public:
    virtual ~Transfer() = default;
    virtual bool done() = 0;
};

// All calls but send, poll, receive and those that start a transfer are collective over the communicator. Buffers are
// host memory. Counts may exceed 2^31 bytes. Not to be used by two threads at once: duplicate() one for each.
class Communicator {
  public:
    virtual ~Communicator() = default;
    virtual int rank() const = 0;
    virtual int size() const = 0;

    virtual void barrier() = 0;
    virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
    // recv has size() times as many bytes as send, in rank order.
    virtual void all_gather(std::span<std::byte const> send, std::span<std::byte> recv) = 0;
    // counts[r] bytes from rank r, laid out in rank order in recv. `send` may be its own part of recv, in place.
    virtual void all_gather_v(std::span<std::byte const> send, std::span<std::byte> recv,
                              std::span<std::size_t const> counts) = 0;
    // Rank r gets send_counts[r] bytes from here; from rank r come recv_counts[r]; both in rank order. Two ranks with
    // nothing for each other do not wait for each other, and one with nothing at all need not call.
    virtual void all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                              std::span<std::byte> recv, std::span<std::size_t const> recv_counts) = 0;
    virtual void all_reduce(std::span<std::int64_t> values, Reduction reduction) = 0;

    // Point to point. send buffers the bytes and returns at once; receive waits for one from (source, tag);
    // poll takes a message of any source with this tag if one is there (false: none). Sent buffers are freed as their
    // sends finish, at the latest in the destructor.
    virtual void send(std::span<std::byte const> bytes, int destination, int tag) = 0;
    virtual std::vector<std::byte> receive(int source, int tag) = 0;
    virtual bool poll(int tag, Message& message) = 0;
    // The same without copies: at most 2^30 bytes, of exactly this size on both sides. What goes from one rank to
    // another under one tag arrives in the order in which it was started.
    virtual std::unique_ptr<Transfer> start_send(std::span<std::byte const> bytes, int destination, int tag) = 0;
    virtual std::unique_ptr<Transfer> start_receive(std::span<std::byte> bytes, int source, int tag) = 0;

    // Time that this rank has spent in the collective calls and receive(), from the beginning.
    virtual double seconds() const = 0;

    // Whether threads may make calls at the same time (each on a communicator of its own).
    virtual bool allows_threads() const = 0;
    virtual std::unique_ptr<Communicator> duplicate() = 0;
    // Ranks of equal color form a communicator, ordered by key; a negative color gets nullptr.
    virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
    // Ranks that share this rank's memory (a node).
    virtual std::unique_ptr<Communicator> split_by_node() = 0;
    // MPI_Comm* for io/, the only other folder that may speak MPI; nullptr where there is none.
    virtual void* native_handle() = 0;
};

// Conveniences over the above, all collective.
std::int64_t sum_over(Communicator& communicator, std::int64_t value);
std::int64_t max_over(Communicator& communicator, std::int64_t value);
std::int64_t min_over(Communicator& communicator, std::int64_t value);
// The string of `root`, everywhere.
std::string broadcast_text(Communicator& communicator, std::string text, int root);
// Every rank's bytes, at `root` in rank order (elsewhere empty).
std::vector<std::vector<std::byte>> gather_bytes(Communicator& communicator, std::span<std::byte const> bytes,
                                                 int root);

// Runs `action` on this rank, then agrees: if it threw on any rank, every rank throws (its own error, or that of the
// lowest failing rank, with its rank named and its exit code). Call it around work that only some ranks can fail at.
template <class Action>
void agree(Communicator& communicator, Action&& action);

}  // namespace selvage

#include "comm/agree.h"

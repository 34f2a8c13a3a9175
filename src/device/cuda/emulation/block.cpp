// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/emulation/block.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "device/cuda/emulation/fiber.h"
#include "device/cuda/emulation/memory.h"

namespace selvage::emulation {
namespace {

constexpr unsigned lanes = 32;
constexpr unsigned most_threads = 1024;
constexpr std::size_t most_shared_bytes = 227 * 1024;  // of compute capability 9.0

enum class State : std::uint8_t { ready, at_barrier, in_warp, ended };

struct Thread {
    Fiber fiber;
    Place place;
    State state = State::ended;
    WarpCall* call = nullptr;  // while in_warp
    unsigned index = 0;
    PendingCopies pending;
};

struct Ordering {
    Order order = Order::ascending;
    std::mt19937_64 random;
};

Ordering ordering_of_environment() {
    char const* const value = std::getenv("SELVAGE_EMULATION_ORDER");
    std::string_view const text = value == nullptr ? "ascending" : value;
    if (text == "ascending") return {Order::ascending, {}};
    if (text == "descending") return {Order::descending, {}};
    if (text.substr(0, 6) == "random")
        return {Order::random, std::mt19937_64(text.size() > 7 ? std::strtoull(value + 7, nullptr, 10) : 0)};
    fail(ExitCode::usage, "SELVAGE_EMULATION_ORDER is '{}'; use ascending, descending, random or random:SEED", text);
}

Ordering& ordering() {
    thread_local Ordering one = ordering_of_environment();
    return one;
}

std::vector<unsigned> turns(unsigned count) {
    std::vector<unsigned> all(count);
    std::iota(all.begin(), all.end(), 0U);
    if (ordering().order == Order::descending) std::reverse(all.begin(), all.end());
    if (ordering().order == Order::random) std::shuffle(all.begin(), all.end(), ordering().random);
    return all;
}

bool same(char const* a, char const* b) { return a == b || std::string_view(a) == b; }
bool same_place(WarpCall const& a, WarpCall const& b) {
    return a.mask == b.mask && a.line == b.line && same(a.file, b.file) && same(a.name, b.name);
}

std::string where(WarpCall const& call) { return fmt::format("{} ({}:{})", call.name, call.file, call.line); }

// The calls that `call` of `lane` waits for; whether all of them are there. Refuses what can never come together.
bool gather(WarpCall& call, unsigned lane, std::span<std::unique_ptr<Thread> const> members, WarpCall** calls) {
    if ((call.mask >> lane & 1U) == 0)
        fail(ExitCode::internal, "{}: the mask {:#x} does not name lane {} itself", where(call), call.mask, lane);
    bool all_here = true;
    for (unsigned i = 0; i < lanes; ++i) {
        if ((call.mask >> i & 1U) == 0) continue;
        if (i >= members.size())
            fail(ExitCode::internal, "{} names lane {}, which the block does not have", where(call), i);
        Thread const& member = *members[i];
        if (member.state == State::ended)
            fail(ExitCode::internal, "{} names lane {}, which has left the kernel", where(call), i);
        WarpCall* const other = i == lane ? &call : member.state == State::in_warp ? member.call : nullptr;
        bool const together = other != nullptr && same_place(*other, call);
        if (other != nullptr && !together && (other->mask >> lane & 1U) != 0)
            fail(ExitCode::internal, "{} with mask {:#x}: lane {} is in {} with mask {:#x}", where(call), call.mask, i,
                 where(*other), other->mask);
        calls[i] = other;
        all_here = all_here && together;
    }
    return all_here;
}

class Block {
  public:
    void run(dim3 block_size, dim3 grid_size, uint3 block, void* shared, std::function<void()> const& kernel);
    void synchronize(char const* file, int line);
    void meet(WarpCall& call, MemoryOrder order);
    void* shared() const { return shared_; }
    Thread& running() const { return *running_; }

  private:
    static void body(void* thread);
    void wait(State state);
    void complete_barrier();
    void end_thread();
    [[noreturn]] void deadlock() const;
    std::span<std::unique_ptr<Thread>> warp_of(Thread const& thread) {
        std::size_t const first = thread.index / lanes * lanes;
        return std::span(threads_).subspan(first, std::min<std::size_t>(lanes, count_ - first));
    }

    std::vector<std::unique_ptr<Thread>> threads_;  // kept for the next blocks
    unsigned count_ = 0;
    unsigned ended_ = 0;
    unsigned arrived_ = 0;  // at the barrier
    char const* barrier_file_ = nullptr;
    int barrier_line_ = 0;
    Thread* running_ = nullptr;
    std::function<void()> const* kernel_ = nullptr;
    void* shared_ = nullptr;
    std::exception_ptr error_;
    // What TSan sees as synchronisation. Two by turns: a thread that is ahead must not tell those still leaving more
    // than their own barrier did.
    unsigned generation_ = 0;
    char start_ = 0, end_ = 0;
    char barriers_[2] = {};
    unsigned warp_generation_[most_threads / lanes] = {};
    char warps_[most_threads / lanes][2] = {};
};

Block& block() {
    thread_local Block one;
    return one;
}

std::string name_of(Place const& place) {
    return fmt::format("thread ({}, {}, {}) of block ({}, {}, {})", place.thread.x, place.thread.y, place.thread.z,
                       place.block.x, place.block.y, place.block.z);
}

void Block::run(dim3 block_size, dim3 grid_size, uint3 block, void* shared, std::function<void()> const& kernel) {
    Unobserved const own;
    count_ = block_size.x * block_size.y * block_size.z;
    ended_ = arrived_ = 0;
    kernel_ = &kernel;
    shared_ = shared;
    error_ = nullptr;
    while (threads_.size() < count_) threads_.push_back(std::make_unique<Thread>());
    for (unsigned i = 0; i < count_; ++i) {
        Thread& thread = *threads_[i];
        uint3 const at{i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
        thread.place = {at, block, block_size, grid_size};
        thread.state = State::ready;
        thread.index = i;
        thread.pending.copies.clear();
        thread.fiber.start(body, this);
    }
    publish(&start_);
    while (ended_ < count_) {
        bool progress = false;
        for (unsigned const i : turns(count_)) {
            Thread& thread = *threads_[i];
            if (thread.state != State::ready) continue;
            progress = true;
            running_ = &thread;
            here = &thread.place;
            thread.fiber.resume();
            if (error_ != nullptr) std::rethrow_exception(error_);
        }
        if (arrived_ > 0 && arrived_ + ended_ == count_)
            complete_barrier();
        else if (!progress)
            deadlock();
    }
    observe(&end_);
}

void Block::body(void* self) {
    auto& block = *static_cast<Block*>(self);
    observe(&block.start_);
    try {
        (*block.kernel_)();
        block.end_thread();
    } catch (...) {
        Unobserved const own;
        block.error_ = std::current_exception();
    }
    publish(&block.end_);
}

void Block::wait(State state) {
    Thread& thread = *running_;
    thread.state = state;
    thread.fiber.pause();
}

void Block::end_thread() {
    Unobserved const own;
    Thread& thread = *running_;
    thread.state = State::ended;
    ++ended_;
    for (auto const& other : warp_of(thread))
        if (other->state == State::in_warp && (other->call->mask >> thread.index % lanes & 1U) != 0)
            fail(ExitCode::internal, "{} ({}:{}) names lane {}, which has left the kernel", other->call->name,
                 other->call->file, other->call->line, thread.index % lanes);
}

void Block::complete_barrier() {
    if (ended_ > 0) {
        auto const left = std::find_if(threads_.begin(), threads_.begin() + count_,
                                       [](auto const& thread) { return thread->state == State::ended; });
        fail(ExitCode::internal, "divergent __syncthreads() ({}:{}): {} left the kernel before it", barrier_file_,
             barrier_line_, name_of((*left)->place));
    }
    for (unsigned i = 0; i < count_; ++i) threads_[i]->state = State::ready;
    arrived_ = 0;
    ++generation_;
}

void Block::deadlock() const {
    std::string text;
    for (unsigned i = 0; i < count_; ++i) {
        Thread const& thread = *threads_[i];
        if (thread.state == State::in_warp) {
            text += fmt::format("; {} waits in {} ({}:{}, mask {:#x})", name_of(thread.place), thread.call->name,
                                thread.call->file, thread.call->line, thread.call->mask);
            break;
        }
    }
    if (arrived_ > 0)
        text += fmt::format("; {} wait in __syncthreads() ({}:{})", arrived_, barrier_file_, barrier_line_);
    fail(ExitCode::internal, "the threads of a block wait for each other: divergent __syncthreads() or warp{}", text);
}

void Block::synchronize(char const* file, int line) {
    char* const token = &barriers_[generation_ % 2];
    publish(token);
    {
        Unobserved const own;
        if (arrived_ == 0) {
            barrier_file_ = file;
            barrier_line_ = line;
        } else if (line != barrier_line_ || !same(file, barrier_file_)) {
            fail(ExitCode::internal, "divergent __syncthreads(): {} is at {}:{}, others at {}:{}",
                 name_of(running_->place), file, line, barrier_file_, barrier_line_);
        }
        ++arrived_;
        wait(State::at_barrier);
    }
    observe(token);
}

void Block::meet(WarpCall& call, MemoryOrder order) {
    Thread& self = *running_;
    unsigned const warp = self.index / lanes;
    char* const token = &warps_[warp][warp_generation_[warp] % 2];
    if (order == MemoryOrder::acquire_release) publish(token);
    {
        Unobserved const own;
        unsigned const lane = self.index % lanes;
        self.call = &call;
        WarpCall* calls[lanes] = {};
        auto const members = warp_of(self);
        bool const all_here = gather(call, lane, members, calls);
        if (all_here) {
            call.complete(calls);
            ++warp_generation_[warp];
            for (unsigned i = 0; i < lanes; ++i)
                if (calls[i] != nullptr) members[i]->state = State::ready;
        } else {
            wait(State::in_warp);
        }
    }
    if (order == MemoryOrder::acquire_release) observe(token);
}

}  // namespace

void set_order(Order order, std::uint64_t seed) { ordering() = {order, std::mt19937_64(seed)}; }

void run_grid(dim3 grid, dim3 block_size, std::size_t shared_bytes, std::function<void()> const& kernel) {
    std::uint64_t const blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    std::uint64_t const threads = std::uint64_t{block_size.x} * block_size.y * block_size.z;
    if (threads == 0 || threads > most_threads || block_size.z > 64)
        fail(ExitCode::internal, "a block of {} x {} x {} threads; CUDA allows {}", block_size.x, block_size.y,
             block_size.z, most_threads);
    if (shared_bytes > most_shared_bytes)
        fail(ExitCode::internal, "{} bytes of shared memory; a block may have {}", shared_bytes, most_shared_bytes);
    if (grid.x > 0x7fffffffU || grid.y > 65535 || grid.z > 65535)
        fail(ExitCode::internal, "a grid of {} x {} x {} blocks", grid.x, grid.y, grid.z);
    Access const access;
    // To the byte, so that sanitizers see where it ends.
    void* memory = nullptr;
    if (shared_bytes > 0 && posix_memalign(&memory, 128, shared_bytes) != 0) throw std::bad_alloc();
    std::unique_ptr<void, void (*)(void*)> const shared(memory, std::free);
    for (unsigned const i : turns(static_cast<unsigned>(blocks))) {
        if (shared_bytes > 0) std::memset(memory, 0xff, shared_bytes);
        block().run(block_size, grid, {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)}, memory, kernel);
    }
    here = nullptr;
}

void* dynamic_shared() { return block().shared(); }
void synchronize_block(char const* file, int line) { block().synchronize(file, line); }
void meet(WarpCall& call, MemoryOrder order) { block().meet(call, order); }
PendingCopies& pending_copies() { return block().running().pending; }

}  // namespace selvage::emulation

// SPDX-License-Identifier: Apache-2.0
#pragma once
// CUDA's thread blocks on a processor: every thread of a block is a fiber, the blocks of a grid run one after the other
// on the calling thread. A wrong kernel ends in Error(internal) from launch(): a __syncthreads() that not all threads
// of the block come to, a warp's operation that names a lane which has left, more threads than a block may have.
// Dynamic shared memory starts as NaN in every block. Under sanitizers, see kernels/cuda/README.md.
#include <cstdint>
#include <functional>
#include <vector>

#include "device/cuda/emulation/language.h"

namespace selvage {
class Stream;
}

namespace selvage::emulation {

// Into the stream: done at once, or recorded there.
void put(Stream& stream, std::function<void()> work);

// In which order threads (and blocks) get their turn; a correct kernel's results do not depend on it. At first what
// SELVAGE_EMULATION_ORDER says: ascending (the default), descending, random or random:SEED.
enum class Order : std::uint8_t { ascending, descending, random };
void set_order(Order order, std::uint64_t seed = 0);

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, std::function<void()> const& kernel);

void* dynamic_shared();

// The threads of a block.
void synchronize_block(char const* file, int line);

// Only __syncwarp() orders the memory accesses of lanes; the other operations exchange registers alone.
// One lane's part in an operation of its warp. All lanes of the mask must come with the same mask, name and place.
struct WarpCall {
    char const* name;
    unsigned mask;
    char const* file;
    int line;
    void const* in;
    void* out;
    unsigned argument;
    // Run once, by the last lane to come; calls[lane] is null outside the mask.
    void (*complete)(WarpCall* const* calls);
};
enum class MemoryOrder : std::uint8_t { none, acquire_release };
void meet(WarpCall& call, MemoryOrder order);

// Copies that a thread has started with cp_async and not yet waited for.
struct PendingCopy {
    void* to;
    void const* from;
    int bytes;
    std::int64_t group;
};
struct PendingCopies {
    std::vector<PendingCopy> copies;
    std::int64_t group = 0;  // that the next copies belong to
};
PendingCopies& pending_copies();

}  // namespace selvage::emulation

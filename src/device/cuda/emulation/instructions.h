// SPDX-License-Identifier: Apache-2.0
#pragma once
// Synchronisation, exchange between lanes and matrix instructions, emulated. native.h has the same names.
#include <tuple>
#include <utility>

#include "device/cuda/emulation/block.h"
#include "device/device.h"

// All threads of the block must come to the same call.
inline void __syncthreads(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    selvage::emulation::synchronize_block(file, line);
}

namespace selvage::emulation {

enum class Shuffle : std::uint8_t { direct, up, down, exclusive_or };
std::uint64_t shuffle(Shuffle kind, unsigned mask, std::uint64_t bits, int operand, int width, char const* file,
                      int line);
unsigned ballot(char const* name, unsigned mask, bool predicate, char const* file, int line);
void synchronize_warp(unsigned mask, char const* file, int line);
void multiply_16x8x16(float* d, std::uint32_t const* a, std::uint32_t const* b, char const* file, int line);
void load_matrices(std::uint32_t* registers, uint4 const* row, bool transposed, char const* file, int line);

template <class T>
T shuffle_value(Shuffle kind, unsigned mask, T value, int operand, int width, char const* file, int line) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "a shuffle moves 32 or 64 bits");
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = shuffle(kind, mask, bits, operand, width, file, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace selvage::emulation

#define SELVAGE_SITE char const *file = __builtin_FILE(), int line = __builtin_LINE()
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, SELVAGE_SITE) {
    return selvage::emulation::shuffle_value(selvage::emulation::Shuffle::direct, mask, value, lane, width, file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SELVAGE_SITE) {
    return selvage::emulation::shuffle_value(selvage::emulation::Shuffle::up, mask, value, static_cast<int>(delta),
                                             width, file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SELVAGE_SITE) {
    return selvage::emulation::shuffle_value(selvage::emulation::Shuffle::down, mask, value, static_cast<int>(delta),
                                             width, file, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SELVAGE_SITE) {
    return selvage::emulation::shuffle_value(selvage::emulation::Shuffle::exclusive_or, mask, value, lanes, width, file,
                                             line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SELVAGE_SITE) {
    return selvage::emulation::ballot("__ballot_sync", mask, predicate != 0, file, line);
}
inline int __any_sync(unsigned mask, int predicate, SELVAGE_SITE) {
    return selvage::emulation::ballot("__any_sync", mask, predicate != 0, file, line) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, SELVAGE_SITE) {
    return selvage::emulation::ballot("__all_sync", mask, predicate != 0, file, line) == mask ? 1 : 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffU, SELVAGE_SITE) {
    selvage::emulation::synchronize_warp(mask, file, line);
}

// The dynamic shared memory of the block as an array of `type`, aligned to 128 bytes.
#define SELVAGE_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::selvage::emulation::dynamic_shared())

namespace selvage {

// d[16, 8] += a[16, 16] b[16, 8] of a warp, a and b in bfloat16, d in fp32; two elements to a register, the first one
// in its lower half. Lane l, with g = l / 4 and t = l % 4, holds
//   a: rows g, g + 8, g, g + 8 at columns 2t, 2t, 2t + 8, 2t + 8 (and the next one each)
//   b: rows 2t, 2t + 8 (and the next one each) of column g;      d: rows g, g, g + 8, g + 8, columns 2t, 2t + 1 twice
inline void mma_m16n8k16(float (&d)[4], std::uint32_t const (&a)[4], std::uint32_t const (&b)[2], SELVAGE_SITE) {
    emulation::multiply_16x8x16(d, a, b, file, line);
}
// Matrices of 8 rows of 16 bytes in shared memory to registers, lane l holding elements 2 (l % 4) and the next of row
// l / 4 (transposed: of column l / 4). Lanes 8i .. 8i + 7 give the addresses of matrix i's rows.
inline void load_matrices(std::uint32_t (&registers)[4], void const* row, SELVAGE_SITE) {
    uint4 const own = *static_cast<uint4 const*>(row);
    emulation::load_matrices(registers, &own, false, file, line);
}
inline void load_matrices_transposed(std::uint32_t (&registers)[4], void const* row, SELVAGE_SITE) {
    uint4 const own = *static_cast<uint4 const*>(row);
    emulation::load_matrices(registers, &own, true, file, line);
}

// 16 bytes from global to shared memory, of which the last 16 - `bytes` become zeros without being read (bytes = 0:
// all). Here a copy is made when it is waited for; until then the destination holds NaN.
inline void cp_async(void* shared, void const* global, int bytes = 16) {
    std::uint32_t const nan = 0xffffffffU;
    *static_cast<uint4*>(shared) = {nan, nan, nan, nan};
    emulation::PendingCopies& pending = emulation::pending_copies();
    pending.copies.push_back({shared, global, bytes, pending.group});
}
// Ends a group of copies.
inline void cp_async_commit() { ++emulation::pending_copies().group; }
// Waits for the thread's own groups but for the last `groups`; other threads need a __syncthreads() after it.
template <int groups>
void cp_async_wait() {
    emulation::PendingCopies& pending = emulation::pending_copies();
    std::size_t done = 0;
    for (; done < pending.copies.size() && pending.copies[done].group < pending.group - groups; ++done) {
        emulation::PendingCopy const& copy = pending.copies[done];
        if (copy.bytes == 16) {
            *static_cast<uint4*>(copy.to) = *static_cast<uint4 const*>(copy.from);
            continue;
        }
        auto* const to = static_cast<unsigned char*>(copy.to);
        for (int i = 0; i < 16; ++i) to[i] = i < copy.bytes ? static_cast<unsigned char const*>(copy.from)[i] : 0;
    }
    pending.copies.erase(pending.copies.begin(), pending.copies.begin() + static_cast<std::ptrdiff_t>(done));
}

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...); an empty grid is no work.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream& stream,
            Arguments&&... arguments) {
    std::tuple<std::decay_t<Parameters>...> const copies(std::forward<Arguments>(arguments)...);
    emulation::put(stream,
                   [=] { emulation::run_grid(grid, block, shared_bytes, [&] { std::apply(kernel, copies); }); });
}

}  // namespace selvage
#undef SELVAGE_SITE

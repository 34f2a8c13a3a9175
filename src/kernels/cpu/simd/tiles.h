// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tile registers of AMX.
#include "kernels/cpu/simd/vector.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

// Tile registers of 16 rows of 64 bytes: products of [16, 32] by [32, 16] (as pairs of rows) bfloat16 into [16, 16]
// floats. Intel's definition of TDPBF16PS: even and odd elements in a chain each, then their sum is added to the
// accumulator.
#if defined(SELVAGE_SIMD_AMX)
struct alignas(64) TileShape {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// The tile registers of this thread, from construction to destruction.
struct TileRegisters {
    TileRegisters() : TileRegisters(lanes) {}
    // Registers 0 to 4 have fewer rows: accumulators and the left factor of a product of few rows.
    explicit TileRegisters(std::int64_t rows) {
        TileShape shape;
        for (int i = 0; i < 5; ++i) shape.rows[i] = static_cast<std::uint8_t>(rows);
        __asm__ volatile("ldtilecfg %0" ::"m"(shape));  // the intrinsic reads but eight bytes, says GCC 12
    }
    ~TileRegisters() { _tile_release(); }
    TileRegisters(TileRegisters const&) = delete;
    TileRegisters& operator=(TileRegisters const&) = delete;
};
// Own statements, as the intrinsics take no template's number and do not say that they read memory. Strides in bytes.
template <int Tile>
SELVAGE_INLINE void tile_zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
SELVAGE_INLINE void tile_load(void const* p, std::int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
SELVAGE_INLINE void tile_store(void* p, std::int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(Tile) : "memory");
}
// Tile += A B
template <int Tile, int A, int B>
SELVAGE_INLINE void tile_product() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Tile), "i"(A), "i"(B));
}
#else
struct TileRegisters {
    explicit TileRegisters(std::int64_t = lanes) {}
    ~TileRegisters() {}
};
#endif

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

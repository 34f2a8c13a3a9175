// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products of bfloat16 in blocks: c[rows][columns] = (or +=) a[rows][depth] b[depth / 2][columns][2], float sums.
// columns are a multiple of 16, depth of 32, strides count elements. With tile registers rows are a multiple of 16, or
// the number with which the TileRegisters were made.
#include "kernels/cpu/isa/tile.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

// Rows of `columns` elements in pairs of rows: to[rows / 2][stride / 2][2]; zeros past the rows and columns.
[[maybe_unused]] void pack_pairs(BFloat16* to, std::int64_t to_rows, std::int64_t to_columns, BFloat16 const* from,
                                 std::int64_t stride, std::int64_t rows, std::int64_t columns) {
    F16 const zero = set(0.0F);
    for (std::int64_t i = 0; i < to_rows; i += 2)
        for (std::int64_t j = 0; j < to_columns; j += lanes) {
            BFloat16 const* const p = from + i * stride + j;
            F16 const even = i < rows && j < columns ? load(p, columns - j) : zero;
            F16 const odd = i + 1 < rows && j < columns ? load(p + stride, columns - j) : zero;
            store_words(to + i * to_columns + 2 * j, pairs_of(even, odd));
        }
}

// The same of the transposed matrix: to[to_columns / 2][to_rows][2], for up to 16 rows.
[[maybe_unused]] void pack_transposed_pairs(BFloat16* to, std::int64_t to_stride, std::int64_t to_columns,
                                            BFloat16 const* from, std::int64_t stride, std::int64_t rows,
                                            std::int64_t columns, std::int64_t to_rows = lanes) {
    for (std::int64_t j = 0; j < to_columns; j += 2 * lanes) {
        F16 x[lanes];
        for (int i = 0; i < lanes; ++i)
            x[i] = i < rows && j < columns ? load_words(from + i * stride + j, (columns - j) / 2) : set(0.0F);
        transpose(x);
        for (int i = 0; i < lanes && j + 2 * i < to_columns; ++i)
            store_words(to + (j / 2 + i) * to_stride, x[i], to_rows);
    }
}

// to[to_columns][rows] of 32 rows.
[[maybe_unused]] void pack_transposed(BFloat16* to, std::int64_t to_stride, std::int64_t to_columns,
                                      BFloat16 const* from, std::int64_t stride, std::int64_t rows,
                                      std::int64_t columns) {
    F16 const zero = set(0.0F);
    for (std::int64_t j = 0; j < to_columns; j += lanes) {
        F16 x[lanes];
        for (int i = 0; i < lanes; ++i) {
            BFloat16 const* const p = from + 2 * i * stride + j;
            F16 const even = 2 * i < rows && j < columns ? load(p, columns - j) : zero;
            F16 const odd = 2 * i + 1 < rows && j < columns ? load(p + stride, columns - j) : zero;
            x[i] = pairs_of(even, odd);
        }
        transpose(x);
        for (int i = 0; i < lanes; ++i) store_words(to + (j + i) * to_stride, x[i]);
    }
}

struct PairProduct {
    float* c;
    std::int64_t c_stride;
    BFloat16 const* a;
    std::int64_t a_stride;
    BFloat16 const* b;
    std::int64_t b_stride;               // from one pair of rows to the next
    std::int64_t b_columns = 2 * lanes;  // from 16 columns to the next 16
    std::int64_t depth;
    bool add;
};

#if defined(SELVAGE_SIMD_AMX)

// Up to four tiles of c, at tiles (i, j): registers 0 to 3; a in 4 and 5, b in those left.
template <int Rows, int Columns>
SELVAGE_INLINE void tile_block(PairProduct const& x, std::int64_t i, std::int64_t j) {
    static_assert(Rows <= 2 && Rows * Columns <= 4);
    float* const c = x.c + lanes * i * x.c_stride + lanes * j;
    std::int64_t const c_bytes = 4 * x.c_stride;
    float* const below = c + lanes * x.c_stride;
    if (x.add) {
        tile_load<0>(c, c_bytes);
        if constexpr (Columns > 1) tile_load<1>(c + lanes, c_bytes);
        if constexpr (Columns > 2) tile_load<2>(c + 2 * lanes, c_bytes);
        if constexpr (Columns > 3) tile_load<3>(c + 3 * lanes, c_bytes);
        if constexpr (Rows > 1) tile_load<Columns>(below, c_bytes);
        if constexpr (Rows > 1 && Columns > 1) tile_load<Columns + 1>(below + lanes, c_bytes);
    } else {
        tile_zero<0>();
        if constexpr (Rows * Columns > 1) tile_zero<1>();
        if constexpr (Rows * Columns > 2) tile_zero<2>();
        if constexpr (Rows * Columns > 3) tile_zero<3>();
    }
    constexpr int b0 = 4 + Rows;
    constexpr int b1 = 5 + Rows;
    constexpr int b2 = Rows == 1 ? 7 : b0;
    for (std::int64_t k = 0; k < x.depth; k += 2 * lanes) {
        BFloat16 const* const a = x.a + lanes * i * x.a_stride + k;
        BFloat16 const* const b = x.b + k / 2 * x.b_stride + j * x.b_columns;
        tile_load<4>(a, 2 * x.a_stride);
        tile_load<b0>(b, 2 * x.b_stride);
        tile_product<0, 4, b0>();
        if constexpr (Rows > 1) {
            tile_load<5>(a + lanes * x.a_stride, 2 * x.a_stride);
            tile_product<Columns, 5, b0>();
        }
        if constexpr (Columns > 1) {
            tile_load<b1>(b + x.b_columns, 2 * x.b_stride);
            tile_product<1, 4, b1>();
            if constexpr (Rows > 1) tile_product<Columns + 1, 5, b1>();
        }
        if constexpr (Columns > 2) {
            tile_load<b2>(b + 2 * x.b_columns, 2 * x.b_stride);
            tile_product<2, 4, b2>();
        }
        if constexpr (Columns > 3) {
            tile_load<b0>(b + 3 * x.b_columns, 2 * x.b_stride);
            tile_product<3, 4, b0>();
        }
    }
    tile_store<0>(c, c_bytes);
    if constexpr (Columns > 1) tile_store<1>(c + lanes, c_bytes);
    if constexpr (Columns > 2) tile_store<2>(c + 2 * lanes, c_bytes);
    if constexpr (Columns > 3) tile_store<3>(c + 3 * lanes, c_bytes);
    if constexpr (Rows > 1) tile_store<Columns>(below, c_bytes);
    if constexpr (Rows > 1 && Columns > 1) tile_store<Columns + 1>(below + lanes, c_bytes);
}

[[maybe_unused]] void pair_product(PairProduct const& x, std::int64_t rows, std::int64_t columns) {
    std::int64_t const column_tiles = columns / lanes;
    std::int64_t i = 0;
    for (; rows - i * lanes >= 2 * lanes; i += 2) {
        std::int64_t j = 0;
        for (; j + 1 < column_tiles; j += 2) tile_block<2, 2>(x, i, j);
        if (j < column_tiles) tile_block<2, 1>(x, i, j);
    }
    if (rows <= i * lanes) return;
    std::int64_t j = 0;
    for (; j + 3 < column_tiles; j += 4) tile_block<1, 4>(x, i, j);
    if (column_tiles - j == 1) tile_block<1, 1>(x, i, j);
    if (column_tiles - j == 2) tile_block<1, 2>(x, i, j);
    if (column_tiles - j == 3) tile_block<1, 3>(x, i, j);
}

#else

template <int Rows, int Vectors>
SELVAGE_INLINE void pair_block(PairProduct const& x, std::int64_t i, std::int64_t j) {
    F16 acc[Rows][Vectors];
    for (int r = 0; r < Rows; ++r)
        for (int v = 0; v < Vectors; ++v)
            acc[r][v] = x.add ? load(x.c + (i + r) * x.c_stride + j + v * lanes) : set(0.0F);
    for (std::int64_t k = 0; k < x.depth; k += 2) {
        Pairs16 column[Vectors];
        for (int v = 0; v < Vectors; ++v)
            column[v] = load_pairs(x.b + k / 2 * x.b_stride + (j / lanes + v) * x.b_columns);
        for (int r = 0; r < Rows; ++r) {
            Pairs16 const value = set_pair(x.a + (i + r) * x.a_stride + k);
            for (int v = 0; v < Vectors; ++v) acc[r][v] = fma_pairs(value, column[v], acc[r][v]);
        }
    }
    for (int r = 0; r < Rows; ++r)
        for (int v = 0; v < Vectors; ++v) store(x.c + (i + r) * x.c_stride + j + v * lanes, acc[r][v]);
}

[[maybe_unused]] void pair_product(PairProduct const& x, std::int64_t rows, std::int64_t columns) {
    for (std::int64_t i = 0; i < rows; i += tile_rows)
        with_rows(rows - i, [&]<int Rows>() {
            std::int64_t j = 0;
            for (; j + lanes * tile_vectors <= columns; j += lanes * tile_vectors)
                pair_block<Rows, tile_vectors>(x, i, j);
            for (; j < columns; j += lanes) pair_block<Rows, 1>(x, i, j);
        });
}

#endif

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

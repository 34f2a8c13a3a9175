// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/tile.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t panel = lanes * tile_vectors;
constexpr int unroll = 8;  // k per line fetched

// Where a tile's operands are read, and what is fetched meanwhile.
struct Cursor {
    float const* a;
    float const* b;
    float const* next;
};

// One k.
template <int Rows, bool Tiles>
SELVAGE_INLINE void step(F16 (&acc)[Rows][tile_vectors], float const* a, std::int64_t a_row, float const* b) {
    F16 column[tile_vectors];
    for (int v = 0; v < tile_vectors; ++v) column[v] = load(b + v * lanes);
    for (int i = 0; i < Rows; ++i) {
        F16 const value = set(Tiles ? a[i] : a[i * a_row]);
        for (int v = 0; v < tile_vectors; ++v) acc[i][v] = fma(value, column[v], acc[i][v]);
    }
}

template <int Rows, bool Tiles>
SELVAGE_INLINE void block_sums(F16 (&acc)[Rows][tile_vectors], Cursor& at, std::int64_t a_row, std::int64_t count) {
    constexpr std::int64_t a_k = Tiles ? tile_rows : 1;
    Cursor local = at;
    clear(acc);
    std::int64_t k = 0;
    for (; k + unroll <= count; k += unroll) {
        prefetch(local.next);
        local.next += lanes;
#pragma GCC unroll 8
        for (int u = 0; u < unroll; ++u) step<Rows, Tiles>(acc, local.a + u * a_k, a_row, local.b + u * panel);
        local.a += unroll * a_k;
        local.b += unroll * panel;
    }
    for (; k < count; ++k) {
        step<Rows, Tiles>(acc, local.a, a_row, local.b);
        local.a += a_k;
        local.b += panel;
    }
    at = local;
}

// `totals` (Rows panels, at a cache line) is memory for sums of several blocks.
template <int Rows, bool Tiles>
void product_rows(ProductTile const& t, float* totals, float const*& next) {
    for (int i = 0; i < Rows; ++i)
        for (std::int64_t j = 0; j < t.columns; j += lanes) __builtin_prefetch(t.c + i * t.c_stride + j, 1);
    Cursor at{t.a, t.b, next};
    for (std::int64_t first_k = 0; first_k < t.k || first_k == 0; first_k += t.k_block) {
        F16 acc[Rows][tile_vectors];
        block_sums<Rows, Tiles>(acc, at, t.a_row, t.k - first_k < t.k_block ? t.k - first_k : t.k_block);
        for (int i = 0; i < Rows; ++i)
            for (int v = 0; v < tile_vectors; ++v) {
                float* const total = totals + i * panel + v * lanes;
                store(total, first_k == 0 ? acc[i][v] : load(total) + acc[i][v]);
            }
    }
    next = at.next;
    for (int i = 0; i < Rows; ++i)
        for (std::int64_t j = 0; j < t.columns; j += lanes) {
            float* const c = t.c + i * t.c_stride + j;
            F16 sum = load(totals + i * panel + j);
            if (t.bias != nullptr) sum = sum + load(t.bias + j, t.columns - j);
            if (t.add) sum = load(c, t.columns - j) + sum;
            store(c, sum, t.columns - j);
        }
}

void product_tile(ProductTile const& t) {
    alignas(64) float totals[tile_rows * panel];
    ProductTile part = t;
    float const* next = t.next == nullptr ? t.b : t.next;
    if (t.a_tiles) {
        for (std::int64_t row = 0; row < t.rows; row += tile_rows) {
            with_rows(t.rows - row, [&]<int Rows>() { product_rows<Rows, true>(part, totals, next); });
            part.a += t.a_row;
            part.c += tile_rows * t.c_stride;
        }
        return;
    }
    // Rows in tiles of about the same height: a low tile cannot keep the arithmetic units busy.
    std::int64_t tiles = (t.rows + tile_rows - 1) / tile_rows;
    for (std::int64_t row = 0; row < t.rows; --tiles) {
        std::int64_t const rows = (t.rows - row + tiles - 1) / tiles;
        with_rows(rows, [&]<int Rows>() { product_rows<Rows, false>(part, totals, next); });
        part.a += rows * t.a_row;
        part.c += rows * t.c_stride;
        row += rows;
    }
}

void pack_tiles(float* tiles, float const* a, std::int64_t stride, std::int64_t rows, std::int64_t k) {
    // Some k of all tiles at a time: neighbours in memory are read together, and written together.
    for (std::int64_t first = 0; first < k; first += lanes)
        for (std::int64_t row = 0; row < rows; row += tile_rows)
            for (std::int64_t i = first; i < k && i < first + lanes; ++i)
                store(tiles + row * k + i * tile_rows,
                      load(a + i * stride + row, rows - row < tile_rows ? rows - row : tile_rows), tile_rows);
}

void pack_panel(float* to, float const* b, std::int64_t k_stride, std::int64_t n_stride, std::int64_t k,
                std::int64_t columns) {
    if (n_stride == 1) {
        for (std::int64_t i = 0; i < k; ++i)
            for (std::int64_t j = 0; j < panel; j += lanes)
                store(to + i * panel + j, columns > j ? load(b + i * k_stride + j, columns - j) : set(0.0F));
        return;
    }
    for (std::int64_t j = 0; j < panel; j += lanes)
        for (std::int64_t i = 0; i < k; i += lanes) {
            F16 square[lanes];
            for (int r = 0; r < lanes; ++r)
                square[r] = j + r < columns ? load(b + i + (j + r) * n_stride, k - i) : set(0.0F);
            transpose(square);
            for (int r = 0; r < lanes && i + r < k; ++r) store(to + (i + r) * panel + j, square[r]);
        }
}

}  // namespace

void fill_product(KernelTable& table) {
    table.panel = panel;
    table.tile_rows = tile_rows;
    table.product_tile = product_tile;
    table.pack_panel = pack_panel;
    table.pack_tiles = pack_tiles;
}

}  // namespace selvage::kernels::SELVAGE_ISA

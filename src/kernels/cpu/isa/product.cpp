// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/tile.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t panel = lanes * tile_vectors;
constexpr int unroll = 8;  // k per line fetched
constexpr std::int64_t most_rows = ProductTile::most_rows;

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

// Some k of one tile, in the middle of a chain or not.
struct Part {
    float const* a;
    float const* b;
    std::int64_t count;
    float* sums;        // of the chain so far, [rows][panel]
    float* totals;      // of the blocks before
    std::int64_t row;   // the tile's place in c, sums and totals
    bool begins_block;  // the chain starts from zero
    bool ends_block;
    bool first_block;
    bool last_block;
};

template <int Rows, bool Tiles>
SELVAGE_INLINE void add_part(F16 (&acc)[Rows][tile_vectors], Part const& part, std::int64_t a_row, float const*& next) {
    constexpr std::int64_t a_k = Tiles ? tile_rows : 1;
    float const* a = part.a;
    float const* b = part.b;
    float const* ahead = next;
    std::int64_t k = 0;
    for (; k + unroll <= part.count; k += unroll) {
        prefetch(ahead);
        ahead += lanes;
#pragma GCC unroll 8
        for (int u = 0; u < unroll; ++u) step<Rows, Tiles>(acc, a + u * a_k, a_row, b + u * panel);
        a += unroll * a_k;
        b += unroll * panel;
    }
    for (; k < part.count; ++k) {
        step<Rows, Tiles>(acc, a, a_row, b);
        a += a_k;
        b += panel;
    }
    next = ahead;
}

template <int Rows, bool Tiles>
void product_rows(ProductTile const& t, Part const& part, float const*& next) {
    float* const c = t.c + part.row * t.c_stride;
    bool const ends = part.ends_block && part.last_block;
    if (ends)
        for (int i = 0; i < Rows; ++i)
            for (std::int64_t j = 0; j < t.columns; j += lanes) __builtin_prefetch(c + i * t.c_stride + j, 1);
    float* const sums = part.sums + part.row * panel;
    float* const totals = part.totals + part.row * panel;
    F16 acc[Rows][tile_vectors];
    for (int i = 0; i < Rows; ++i)
        for (int v = 0; v < tile_vectors; ++v)
            acc[i][v] = part.begins_block ? set(0.0F) : load(sums + i * panel + v * lanes);
    add_part<Rows, Tiles>(acc, part, t.a_row, next);
    if (part.ends_block && !part.first_block)
        for (int i = 0; i < Rows; ++i)
            for (int v = 0; v < tile_vectors; ++v) acc[i][v] = load(totals + i * panel + v * lanes) + acc[i][v];
    float* const to = part.ends_block ? totals : sums;
    for (int i = 0; i < Rows; ++i)
        for (int v = 0; v < tile_vectors; ++v) store(to + i * panel + v * lanes, acc[i][v]);
    if (!ends) return;
    for (int i = 0; i < Rows; ++i)
        for (std::int64_t j = 0; j < t.columns; j += lanes) {
            float* const at = c + i * t.c_stride + j;
            F16 sum = load(totals + i * panel + j);
            if (t.bias != nullptr) sum = sum + load(t.bias + j, t.columns - j);
            if (t.add) sum = load(at, t.columns - j) + sum;
            store(at, sum, t.columns - j);
        }
}

template <bool Tiles>
void rows_of_part(ProductTile const& t, Part part, float const*& next) {
    std::int64_t tiles = (t.rows + tile_rows - 1) / tile_rows;
    float const* const a = part.a;
    for (std::int64_t index = 0; part.row < t.rows; ++index, --tiles) {
        // Rows in tiles of about the same height: a low tile cannot keep the arithmetic units busy.
        std::int64_t const left = t.rows - part.row;
        std::int64_t const rows = Tiles ? (left < tile_rows ? left : tile_rows) : (left + tiles - 1) / tiles;
        part.a = a + (Tiles ? index : part.row) * t.a_row;
        with_rows(rows, [&]<int Rows>() { product_rows<Rows, Tiles>(t, part, next); });
        part.row += rows;
    }
}

// Packed tiles take some k in turn, whose part of the panel stays in the first-level cache; rows in place would be read
// in pieces too short for that.
void product_tile(ProductTile const& t) {
    constexpr std::int64_t cached_k = 8192 / panel;
    alignas(64) float sums[most_rows * panel];
    alignas(64) float totals[most_rows * panel];
    float const* next = t.next == nullptr ? t.b : t.next;
    std::int64_t const at_once = t.a_tiles && t.rows > tile_rows ? cached_k : t.k_block;
    for (std::int64_t first = 0; first < t.k || first == 0; first += t.k_block) {
        std::int64_t const end = t.k - first < t.k_block ? t.k : first + t.k_block;
        for (std::int64_t k = first; k < end || k == 0; k += at_once) {
            Part const part{.a = t.a + k * (t.a_tiles ? tile_rows : 1),
                            .b = t.b + k * panel,
                            .count = end - k < at_once ? end - k : at_once,
                            .sums = sums,
                            .totals = totals,
                            .row = 0,
                            .begins_block = k == first,
                            .ends_block = k + at_once >= end,
                            .first_block = first == 0,
                            .last_block = end == t.k};
            if (t.a_tiles)
                rows_of_part<true>(t, part, next);
            else
                rows_of_part<false>(t, part, next);
        }
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

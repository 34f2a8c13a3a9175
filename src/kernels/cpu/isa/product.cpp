// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/tile.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t panel = lanes * tile_vectors;

template <int Rows>
void product_rows(ProductTile const& t) {
    float total[Rows][panel];
    for (std::int64_t first_k = 0; first_k < t.k || first_k == 0; first_k += t.k_block) {
        std::int64_t const count = t.k - first_k < t.k_block ? t.k - first_k : t.k_block;
        F16 acc[Rows][tile_vectors];
        clear(acc);
        chain(acc, t.a + first_k * t.a_k, t.a_row, t.a_k, t.b + first_k * t.b_stride, t.b_stride, count);
        for (int i = 0; i < Rows; ++i)
            for (int v = 0; v < tile_vectors; ++v) {
                float* const sum = total[i] + v * lanes;
                store(sum, first_k == 0 ? acc[i][v] : load(sum) + acc[i][v]);
            }
    }
    for (int i = 0; i < Rows; ++i)
        for (std::int64_t j = 0; j < t.columns; j += lanes) {
            float* const c = t.c + i * t.c_stride + j;
            F16 sum = load(total[i] + j);
            if (t.bias != nullptr) sum = sum + load(t.bias + j, t.columns - j);
            if (t.add) sum = load(c, t.columns - j) + sum;
            store(c, sum, t.columns - j);
        }
}

// Rows in tiles of about the same height: a low tile cannot keep the arithmetic units busy.
void product_tile(ProductTile const& t) {
    ProductTile part = t;
    std::int64_t tiles = (t.rows + tile_rows - 1) / tile_rows;
    for (std::int64_t row = 0; row < t.rows; --tiles) {
        std::int64_t const rows = (t.rows - row + tiles - 1) / tiles;
        part.a = t.a + row * t.a_row;
        part.c = t.c + row * t.c_stride;
        with_rows(rows, [&]<int Rows>() { product_rows<Rows>(part); });
        row += rows;
    }
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
}

}  // namespace selvage::kernels::SELVAGE_ISA

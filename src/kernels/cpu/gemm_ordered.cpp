// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "kernels/cpu/gemm_ways.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"
#include "kernels/gemm.h"

namespace selvage::kernels {
namespace {

constexpr std::int64_t rows_per_unit = 96;

std::int64_t padded_k(std::int64_t k) { return (k + 15) / 16 * 16; }

struct Strides {
    std::int64_t k;
    std::int64_t n;
};
Strides strides_of_b(bool transposed, std::int64_t n, std::int64_t k) {
    return transposed ? Strides{1, k} : Strides{n, 1};
}

// A transposed matrix in groups of rows, [k][rows_per_unit] each: neighbours in k would else be a whole row of memory
// apart. Kept between calls, so that steps do not allocate; used by the main thread only, as all kernels.
float const* pack_transposed(MatrixProduct const& x) {
    static std::vector<float> packed;
    std::int64_t const groups = (x.m + rows_per_unit - 1) / rows_per_unit;
    packed.resize(std::max(packed.size(), static_cast<std::size_t>(groups * rows_per_unit * x.k)));
    parallel_for(groups, 1, 2 * x.m * x.k, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t group = begin; group < end; ++group) {
            std::int64_t const row = group * rows_per_unit;
            float* const to = packed.data() + row * x.k;
            for (std::int64_t i = 0; i < x.k; ++i)
                std::copy_n(x.a + i * x.m + row, std::min(rows_per_unit, x.m - row), to + i * rows_per_unit);
        }
    });
    return packed.data();
}

}  // namespace

std::int64_t panel_elements(std::int64_t k) { return padded_k(k) * kernel_table().panel; }
std::int64_t panel_count(std::int64_t n) { return (n + kernel_table().panel - 1) / kernel_table().panel; }

void pack_panels(float* panels, float const* b, bool b_transposed, std::int64_t n, std::int64_t k) {
    KernelTable const& table = kernel_table();
    Strides const strides = strides_of_b(b_transposed, n, k);
    parallel_for(panel_count(n), 1, 4 * n * k, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t p = begin; p < end; ++p) {
            float* const to = panels + p * panel_elements(k);
            std::int64_t const column = p * table.panel;
            table.pack_panel(to, b + column * strides.n, strides.k, strides.n, k, std::min(table.panel, n - column));
            std::fill(to + k * table.panel, to + padded_k(k) * table.panel, 0.0F);
        }
    });
}

// Units are (panel, group of rows), the rows of a panel together: a thread reads, and where the weights are plain
// packs, a panel once.
void ordered_product(MatrixProduct const& x) {
    KernelTable const& table = kernel_table();
    std::int64_t const row_groups = (x.m + rows_per_unit - 1) / rows_per_unit;
    std::int64_t const units = panel_count(x.n) * row_groups;
    Strides const strides = strides_of_b(x.b_transposed, x.n, x.k);
    std::int64_t const a_row = x.a_transposed ? 1 : x.k;
    std::int64_t const a_k = x.a_transposed ? rows_per_unit : 1;
    float const* const a = x.a_transposed ? pack_transposed(x) : x.a;
    parallel_for(units, 1, x.n * x.k + x.m * x.n * x.k / 8, [&](std::int64_t begin, std::int64_t end) {
        thread_local std::vector<float> scratch;
        std::int64_t packed = -1;
        for (std::int64_t unit = begin; unit < end; ++unit) {
            std::int64_t const panel = unit / row_groups;
            std::int64_t const row = unit % row_groups * rows_per_unit;
            std::int64_t const column = panel * table.panel;
            std::int64_t const columns = std::min(table.panel, x.n - column);
            ProductTile tile{.c = x.c + row * x.n + column,
                             .c_stride = x.n,
                             .a = a + row * x.k,
                             .a_row = a_row,
                             .a_k = a_k,
                             .b = nullptr,
                             .b_stride = table.panel,
                             .bias = x.bias == nullptr ? nullptr : x.bias + column,
                             .rows = std::min(rows_per_unit, x.m - row),
                             .columns = columns,
                             .k = x.k,
                             .k_block = gemm_k_block(x.k),
                             .add = x.add};
            if (x.panels != nullptr) {
                tile.b = x.panels + panel * panel_elements(x.k);
            } else if (!x.b_transposed && columns == table.panel && x.m <= 2 * table.tile_rows) {
                tile.b = x.b + column;
                tile.b_stride = x.n;
            } else {
                if (packed != panel) {
                    scratch.resize(static_cast<std::size_t>(panel_elements(x.k)));
                    table.pack_panel(scratch.data(), x.b + column * strides.n, strides.k, strides.n, x.k, columns);
                    packed = panel;
                }
                tile.b = scratch.data();
            }
            table.product_tile(tile);
        }
    });
}

}  // namespace selvage::kernels

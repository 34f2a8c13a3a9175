// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "kernels/cpu/gemm_ways.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/workspace.h"
#include "kernels/gemm.h"

namespace selvage::kernels {
namespace {

// What stays in a thread's second-level cache while the other operand passes by. None of these numbers changes a sum.
constexpr std::int64_t resident_floats = 192 * 1024;
constexpr std::int64_t most_k = 2048;  // at once; longer sums go by blocks of the defined order, added up in c
constexpr std::int64_t rows_per_unit = ProductTile::most_rows;

std::int64_t padded_k(std::int64_t k) { return (k + 15) / 16 * 16; }
std::int64_t quotient_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct Strides {
    std::int64_t k;
    std::int64_t n;
};
Strides strides_of_b(bool transposed, std::int64_t n, std::int64_t k) {
    return transposed ? Strides{1, k} : Strides{n, 1};
}

std::int64_t cost_of(MatrixProduct const& x) { return x.n * x.k + x.m * x.n * x.k / 8; }

// Of `panel`, all but a and b.
ProductTile tile_of(MatrixProduct const& x, std::int64_t row, std::int64_t rows, std::int64_t panel) {
    KernelTable const& table = kernel_table();
    std::int64_t const column = panel * table.panel;
    return {.c = x.c + row * x.n + column,
            .c_stride = x.n,
            .a = nullptr,
            .a_row = 0,
            .a_tiles = false,
            .b = nullptr,
            .next = nullptr,
            .bias = x.bias == nullptr ? nullptr : x.bias + column,
            .rows = rows,
            .columns = std::min(table.panel, x.n - column),
            .k = x.k,
            .k_block = gemm_k_block(x.k),
            .add = x.add};
}

// Where a is transposed: threads share the rows and pack theirs, some at a time, as they are read for every panel.
void product_of_transposed(MatrixProduct const& x, float const* panels) {
    KernelTable const& table = kernel_table();
    std::int64_t const all = quotient_up(x.m, table.tile_rows);
    std::int64_t const floats = std::max<std::int64_t>(1, x.k * table.tile_rows);
    std::int64_t const most = std::clamp<std::int64_t>(resident_floats / floats, 1, rows_per_unit / table.tile_rows);
    parallel_for(all, 1, cost_of(x), [&](std::int64_t begin, std::int64_t end) {
        thread_local std::vector<float> scratch;
        std::int64_t const at_once = quotient_up(end - begin, quotient_up(end - begin, most));
        float* const packed = aligned_floats(scratch, (at_once + 1) * table.tile_rows * x.k);
        for (std::int64_t first = begin; first < end; first += at_once) {
            std::int64_t const row = first * table.tile_rows;
            std::int64_t const rows = std::min(x.m, std::min(end, first + at_once) * table.tile_rows) - row;
            table.pack_tiles(packed, x.a + row, x.m, rows, x.k);
            for (std::int64_t p = 0; p < panel_count(x.n); ++p) {
                ProductTile tile = tile_of(x, row, rows, p);
                tile.a = packed;
                tile.a_row = table.tile_rows * x.k;
                tile.a_tiles = true;
                tile.b = panels + p * panel_elements(x.k);
                if (p + 1 < panel_count(x.n)) tile.next = tile.b + panel_elements(x.k);
                table.product_tile(tile);
            }
        }
    });
}

// Units are (some panels, some rows), the rows of panels together: a thread reads, and where b is plain packs, its
// panels once.
class PanelProduct {
  public:
    explicit PanelProduct(MatrixProduct const& product)
        : x_(product), table_(kernel_table()), round_k_(x_.k <= most_k ? x_.k : gemm_k_block(x_.k)) {
        std::int64_t const threads = omp_get_max_threads();
        std::int64_t const of_thread = quotient_up(panel_count(x_.n), threads);
        std::int64_t const most = std::max<std::int64_t>(1, resident_floats / panel_elements(round_k_));
        at_once_ = quotient_up(of_thread, quotient_up(of_thread, most));
        row_units_ = quotient_up(x_.m, rows_per_unit);
    }

    void run() const {
        parallel_for(quotient_up(panel_count(x_.n), at_once_) * row_units_, 1, cost_of(x_),
                     [&](std::int64_t begin, std::int64_t end) {
                         std::int64_t k = 0;
                         do {
                             run_round(begin, end, k);
                             k += round_k_;
                         } while (k < x_.k);
                     });
    }

  private:
    void run_round(std::int64_t begin, std::int64_t end, std::int64_t k) const {
        thread_local std::vector<float> scratch;
        float* const packed = aligned_floats(scratch, at_once_ * panel_elements(round_k_));
        std::int64_t of_packed = -1;
        for (std::int64_t unit = begin; unit < end; ++unit) {
            std::int64_t const group = unit / row_units_;
            std::int64_t const row = unit % row_units_ * rows_per_unit;
            std::int64_t const last = std::min(panel_count(x_.n), (group + 1) * at_once_);
            for (std::int64_t p = group * at_once_; p < last; ++p) {
                ProductTile tile = tile_of(x_, row, std::min(rows_per_unit, x_.m - row), p);
                tile.a = x_.a + row * x_.k + k;
                tile.a_row = x_.k;
                tile.k = std::min(round_k_, x_.k - k);
                tile.add = x_.add || k > 0;  // to the blocks before
                float* const own = packed + p % at_once_ * panel_elements(round_k_);
                if (x_.panels != nullptr) {
                    tile.b = x_.panels + p * panel_elements(x_.k) + k * table_.panel;
                } else {
                    if (group != of_packed) pack(own, p, k, tile);
                    tile.b = own;
                }
                table_.product_tile(tile);
            }
            of_packed = group;
        }
    }

    void pack(float* to, std::int64_t panel, std::int64_t k, ProductTile const& tile) const {
        Strides const strides = strides_of_b(x_.b_transposed, x_.n, x_.k);
        table_.pack_panel(to, x_.b + panel * table_.panel * strides.n + k * strides.k, strides.k, strides.n, tile.k,
                          tile.columns);
    }

    MatrixProduct const& x_;
    KernelTable const& table_;
    std::int64_t round_k_;
    std::int64_t at_once_ = 1;
    std::int64_t row_units_ = 1;
};

}  // namespace

std::int64_t panel_elements(std::int64_t k) { return padded_k(k) * kernel_table().panel; }
std::int64_t panel_count(std::int64_t n) { return quotient_up(n, kernel_table().panel); }

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

void ordered_product(MatrixProduct const& x) {
    static std::vector<float> scratch;  // kept between calls; used by the main thread only, as all kernels
    if (x.a_transposed) {
        if (x.panels != nullptr) return product_of_transposed(x, x.panels);
        float* const panels = aligned_floats(scratch, panel_count(x.n) * panel_elements(x.k));
        pack_panels(panels, x.b, x.b_transposed, x.n, x.k);
        return product_of_transposed(x, panels);
    }
    if (x.k <= most_k || (x.bias == nullptr && !x.add)) return PanelProduct(x).run();
    // The sum is finished before anything else is added.
    MatrixProduct sum = x;
    sum.bias = nullptr;
    sum.add = false;
    if (x.add) sum.c = aligned_floats(scratch, x.m * x.n);
    PanelProduct(sum).run();
    parallel_for(x.m, 1, x.m * x.n, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            if (x.bias != nullptr) kernel_table().add(sum.c + row * x.n, x.bias, x.n);
            if (x.add) kernel_table().add(x.c + row * x.n, sum.c + row * x.n, x.n);
        }
    });
}

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/gemm_bf16.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"
#include "kernels/gemm.h"
#include "tensor/layout.h"

namespace selvage::kernels {
namespace {

// What a thread works on at once, so that packed rows and sums stay in its second-level cache. None of these numbers
// changes a sum.
constexpr std::int64_t most_rows = 256;
constexpr std::int64_t most_k = 2048;
constexpr std::int64_t most_panels = 16;     // where k takes more than one round
constexpr std::int64_t few_rows = 64;        // threads share the columns, so that each reads its part of b only;
constexpr std::int64_t wide_columns = 8192;  // so too where b is much larger than a

// Grows, never shrinks; its content is lost when it grows.
template <class T>
class Scratch {
  public:
    T* of(std::int64_t count) {
        if (static_cast<std::int64_t>(memory_.size()) < count + alignment) memory_.resize(count + alignment);
        auto const address = reinterpret_cast<std::uintptr_t>(memory_.data());
        return memory_.data() + (64 - address % 64) % 64 / sizeof(T);
    }

  private:
    static constexpr std::int64_t alignment = 64 / sizeof(T);
    std::vector<T> memory_;
};

// The part of a product that one thread computes: rows by panels.
class Part {
  public:
    explicit Part(Bf16Product const& product)
        : x_(product), table_(kernel_table()), panel_elements_(Bf16Forms::padded(x_.k) * Bf16Forms::panel) {}

    void run(Range rows, Range panels) const {
        std::int64_t const at_once = x_.k <= most_k ? panels.size() : most_panels;
        for (std::int64_t first = panels.begin; first < panels.end; first += at_once)
            run_panels(rows, {first, std::min(panels.end, first + at_once)});
    }

  private:
    void run_panels(Range rows, Range panels) const {
        thread_local Scratch<BFloat16> packed_scratch;
        thread_local Scratch<float> sums_scratch;
        bool const one_round = x_.k <= most_k;
        std::int64_t const sums_of_panel = Bf16Forms::group_rows(rows.size()) * Bf16Forms::panel;
        float* const sums = sums_scratch.of(one_round ? sums_of_panel : sums_of_panel * panels.size());
        BFloat16* const packed =
            packed_scratch.of(Bf16Forms::group_rows(rows.size()) * Bf16Forms::padded(std::min(x_.k, most_k)));
        for (std::int64_t k = 0; k < x_.k; k += most_k) {
            std::int64_t const count = std::min(most_k, x_.k - k);
            pack(packed, rows, {k, k + count});
            for (std::int64_t p = panels.begin; p < panels.end; ++p) {
                float* const own = one_round ? sums : sums + (p - panels.begin) * sums_of_panel;
                BFloat16 const* const b = x_.panels + p * panel_elements_ + k * Bf16Forms::panel;
                table_.bf16_product({.sums = own,
                                     .a = packed,
                                     .b = b,
                                     .next = p + 1 < panels.end ? b + panel_elements_ : nullptr,
                                     .rows = rows.size(),
                                     .groups = Bf16Forms::group_rows(rows.size()) / Bf16Forms::group,
                                     .k = Bf16Forms::padded(count),
                                     .k_block = gemm_k_block(x_.k),
                                     .first = k == 0});
                if (k + count == x_.k) finish(own, rows, p * Bf16Forms::panel);
            }
        }
    }

    void pack(BFloat16* to, Range rows, Range ks) const {
        if (x_.a_transposed)
            table_.bf16_pack_columns(to, x_.a + ks.begin * x_.m + rows.begin, x_.m, rows.size(), ks.size());
        else
            table_.bf16_pack_rows(to, x_.a + rows.begin * x_.k + ks.begin, x_.k, rows.size(), ks.size());
    }

    void finish(float const* sums, Range rows, std::int64_t column) const {
        std::int64_t const columns = std::min(Bf16Forms::panel, x_.n - column);
        std::int64_t const at = rows.begin * x_.n + column;
        float const* const bias = x_.bias == nullptr ? nullptr : x_.bias + column;
        if (x_.c.dtype() == DType::bf16)
            table_.bf16_finish(x_.c.as<BFloat16>() + at, x_.n, sums, bias, x_.add, rows.size(), columns);
        else if (x_.write_through && !x_.add && columns == Bf16Forms::panel && aligned(x_.c.as<float>() + at) &&
                 x_.n % 16 == 0)
            table_.copy_through(x_.c.as<float>() + at, x_.n, sums, rows.size());
        else
            table_.bf16_finish_floats(x_.c.as<float>() + at, x_.n, sums, bias, x_.add, rows.size(), columns);
    }

    static bool aligned(float const* p) { return reinterpret_cast<std::uintptr_t>(p) % 64 == 0; }

    Bf16Product const& x_;
    KernelTable const& table_;
    std::int64_t panel_elements_;
};

std::int64_t panels_of(std::int64_t n) { return (n + Bf16Forms::panel - 1) / Bf16Forms::panel; }

}  // namespace

void bf16_product(Bf16Product const& x) {
    if (x.m == 0 || x.n == 0) return;
    Part const part(x);
    std::int64_t const panels = panels_of(x.n);
    std::int64_t const cost = x.n * x.k / 4 + x.m * x.n * x.k / 64;
    bool const wide = x.n > wide_columns && x.m * x.k <= most_rows * most_k;
    if (x.m <= few_rows || wide) {
        parallel_for(panels, 1, cost, [&](std::int64_t begin, std::int64_t end) { part.run({0, x.m}, {begin, end}); });
        return;
    }
    parallel_for(x.m, 2 * Bf16Forms::group, cost, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; row += most_rows)
            part.run({row, std::min(end, row + most_rows)}, {0, panels});
    });
}

std::int64_t bf16_panel_elements(std::int64_t n, std::int64_t k) {
    return panels_of(n) * Bf16Forms::panel * Bf16Forms::padded(k);
}

void bf16_pack_operand(BFloat16* panels, TensorView from) {
    KernelTable const& table = kernel_table();
    std::int64_t const k = from.dim(0);
    std::int64_t const n = from.dim(1);
    BFloat16 const* const b = from.as<BFloat16>();
    parallel_for(panels_of(n), 1, n * k, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t column = begin * Bf16Forms::panel; column < std::min(n, end * Bf16Forms::panel);
             column += Bf16Forms::panel)
            table.bf16_pack_panel(panels + column * Bf16Forms::padded(k), b + column, n, k,
                                  std::min(Bf16Forms::panel, n - column));
    });
}

// Square by square, as both forms are of the same numbers: they are read from memory once.
void bf16_pack_weight(BFloat16* panels, BFloat16* transposed_panels, TensorView weight) {
    constexpr std::int64_t side = Bf16Forms::panel;
    KernelTable const& table = kernel_table();
    std::int64_t const n = weight.dim(0);
    std::int64_t const k = weight.dim(1);
    float const* const w = weight.as<float>();
    parallel_for(panels_of(n), 1, 2 * n * k, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin * side; row < std::min(n, end * side); row += side)
            for (std::int64_t column = 0; column < k; column += side) {
                std::int64_t const rows = std::min(side, n - row);
                std::int64_t const columns = std::min(side, k - column);
                float const* const from = w + row * k + column;
                table.bf16_pack_panel_transposed(panels + row * Bf16Forms::padded(k) + column * side, from, k, columns,
                                                 rows);
                if (transposed_panels != nullptr)
                    table.bf16_pack_panel_of_floats(transposed_panels + column * Bf16Forms::padded(n) + row * side,
                                                    from, k, rows, columns);
            }
    });
}

}  // namespace selvage::kernels

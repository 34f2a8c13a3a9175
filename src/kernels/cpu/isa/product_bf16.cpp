// SPDX-License-Identifier: Apache-2.0
// Products of bfloat16 with fp32 sums, on packed operands (their forms are in table.h).
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/simd.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t panel = Bf16Forms::panel;
constexpr std::int64_t group = Bf16Forms::group;
constexpr std::int64_t step = Bf16Forms::step;

#if defined(SELVAGE_SIMD_AMX)

// Row bytes of sums, of a's tiles and of b's panel.
constexpr std::int64_t sum_stride = panel * 4;
constexpr std::int64_t a_stride = step * 2;
constexpr std::int64_t b_stride = panel * 4;

template <int Sum>
SELVAGE_INLINE void begin_tile(float const* sums, bool first) {
    if (first)
        tile_zero<Sum>();
    else
        tile_load<Sum>(sums, sum_stride);
}

SELVAGE_INLINE void prefetch_lines(char const*& next, int lines) {
    if (next == nullptr) return;
    for (int i = 0; i < lines; ++i) prefetch(next + i * 64);
    next += lines * 64;
}

// 32 rows by 32 columns.
void tiles_2x2(Bf16Panel const& t, float* sums, BFloat16 const* a, BFloat16 const* b, char const* next) {
    begin_tile<0>(sums, t.first);
    begin_tile<1>(sums + 16, t.first);
    begin_tile<2>(sums + 16 * panel, t.first);
    begin_tile<3>(sums + 16 * panel + 16, t.first);
    for (std::int64_t k = 0; k < t.k; k += step) {
        tile_load<4>(a + k * group, a_stride);
        tile_load<6>(b + k * panel, b_stride);
        tile_load<7>(b + k * panel + 32, b_stride);
        tile_load<5>(a + t.k * group + k * group, a_stride);
        prefetch_lines(next, 32);
        tile_product<0, 4, 6>();
        tile_product<1, 4, 7>();
        tile_product<2, 5, 6>();
        tile_product<3, 5, 7>();
    }
    tile_store<0>(sums, sum_stride);
    tile_store<1>(sums + 16, sum_stride);
    tile_store<2>(sums + 16 * panel, sum_stride);
    tile_store<3>(sums + 16 * panel + 16, sum_stride);
}

// 16 rows by 64 columns.
void tiles_1x4(Bf16Panel const& t, float* sums, BFloat16 const* a, char const* next) {
    begin_tile<0>(sums, t.first);
    begin_tile<1>(sums + 16, t.first);
    begin_tile<2>(sums + 32, t.first);
    begin_tile<3>(sums + 48, t.first);
    for (std::int64_t k = 0; k < t.k; k += step) {
        BFloat16 const* const b = t.b + k * panel;
        tile_load<4>(a + k * group, a_stride);
        tile_load<5>(b, b_stride);
        tile_load<6>(b + 32, b_stride);
        prefetch_lines(next, 64);
        tile_product<0, 4, 5>();
        tile_product<1, 4, 6>();
        tile_load<5>(b + 64, b_stride);
        tile_load<6>(b + 96, b_stride);
        tile_product<2, 4, 5>();
        tile_product<3, 4, 6>();
    }
    tile_store<0>(sums, sum_stride);
    tile_store<1>(sums + 16, sum_stride);
    tile_store<2>(sums + 32, sum_stride);
    tile_store<3>(sums + 48, sum_stride);
}

void bf16_product(Bf16Panel const& t) {
    TileRegisters const registers;
    std::int64_t const pairs_of_groups = t.groups / 2;
    auto const* const next = reinterpret_cast<char const*>(t.next);
    for (int half = 0; half < 2; ++half)
        for (std::int64_t i = 0; i < pairs_of_groups; ++i) {
            bool const fetch = i == 0 && next != nullptr;
            tiles_2x2(t, t.sums + 2 * i * group * panel + half * 32, t.a + 2 * i * group * t.k, t.b + half * 64,
                      fetch ? next + half * t.k * panel : nullptr);
        }
    if (t.groups % 2 != 0)
        tiles_1x4(t, t.sums + (t.groups - 1) * group * panel, t.a + (t.groups - 1) * group * t.k,
                  pairs_of_groups == 0 ? next : nullptr);
}

#else

// Registers allow this many vectors of sums beside the operands.
#if defined(SELVAGE_SIMD_AVX512)
constexpr int vectors = 4;
#else
constexpr int vectors = 1;
#endif
constexpr int rows_at_once = 4;

void rows_by_vectors(Bf16Panel const& t, float* sums, BFloat16 const* a, BFloat16 const* b) {
    for (std::int64_t begin = 0; begin < t.k; begin += t.k_block) {
        std::int64_t const end = t.k - begin < t.k_block ? t.k : begin + t.k_block;
        F16 acc[rows_at_once][vectors];
        for (int i = 0; i < rows_at_once; ++i)
            for (int v = 0; v < vectors; ++v) acc[i][v] = set(0.0F);
        for (std::int64_t k = begin; k < end; k += 2) {
            Pairs16 column[vectors];
            for (int v = 0; v < vectors; ++v) column[v] = load_pairs(b + k * panel + v * 2 * lanes);
            BFloat16 const* const at = a + k / step * step * group + k % step;
            for (int i = 0; i < rows_at_once; ++i) {
                Pairs16 const value = set_pair(at + i * step);
                for (int v = 0; v < vectors; ++v) acc[i][v] = fma_pairs(value, column[v], acc[i][v]);
            }
        }
        bool const overwrite = t.first && begin == 0;
        for (int i = 0; i < rows_at_once; ++i)
            for (int v = 0; v < vectors; ++v) {
                float* const sum = sums + i * panel + v * lanes;
                store(sum, overwrite ? acc[i][v] : load(sum) + acc[i][v]);
            }
    }
}

void bf16_product(Bf16Panel const& t) {
    for (std::int64_t i = 0; i < t.rows; i += rows_at_once)
        for (std::int64_t j = 0; j < panel; j += vectors * lanes)
            rows_by_vectors(t, t.sums + i * panel + j, t.a + i / group * group * t.k + i % group * step, t.b + 2 * j);
}

#endif

void bf16_pack_rows(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t rows, std::int64_t k) {
    std::int64_t const padded = Bf16Forms::padded(k);
    for (std::int64_t i = 0; i < Bf16Forms::group_rows(rows); ++i)
        for (std::int64_t first = 0; first < padded; first += step) {
            BFloat16* const at = to + i / group * group * padded + first * group + i % group * step;
            std::int64_t const count = i >= rows ? 0 : (k - first < step ? k - first : step);
            if (count == step) {
                __builtin_memcpy(at, from + i * stride + first, step * sizeof(BFloat16));
                continue;
            }
            for (std::int64_t j = 0; j < step; ++j) at[j] = j < count ? from[i * stride + first + j] : BFloat16{};
        }
}

// Words (pairs of k) of 16 columns for 16 pairs, from rows of k; then columns by pairs.
template <class E>
SELVAGE_INLINE void words_of_rows(F16 (&words)[lanes], E const* from, std::int64_t stride, std::int64_t columns,
                                  std::int64_t k) {
    alignas(64) static constexpr E zeros[lanes] = {};
    for (std::int64_t pair = 0; pair < lanes; ++pair) {
        E const* const even = from + 2 * pair * stride;
        words[pair] = pair_words(2 * pair < k ? even : zeros, 2 * pair + 1 < k ? even + stride : zeros, columns);
    }
}

void bf16_pack_columns(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t rows, std::int64_t k) {
    std::int64_t const padded = Bf16Forms::padded(k);
    for (std::int64_t i = 0; i < rows; i += group)
        for (std::int64_t first = 0; first < padded; first += step) {
            F16 words[lanes];
            words_of_rows(words, from + first * stride + i, stride, rows - i, k - first);
            transpose(words);
            for (int r = 0; r < lanes; ++r) store_words(to + i * padded + first * group + r * step, words[r]);
        }
}

// Panel from b(k, j) = from[k * stride + j].
template <class E>
void pack_panel_of_rows(BFloat16* to, E const* from, std::int64_t stride, std::int64_t k, std::int64_t columns) {
    for (std::int64_t first = 0; first < Bf16Forms::padded(k); first += step)
        for (std::int64_t j = 0; j < panel; j += lanes) {
            F16 words[lanes];
            words_of_rows(words, from + first * stride + j, stride, columns > j ? columns - j : 0, k - first);
            for (int pair = 0; pair < lanes; ++pair)
                store_words(to + (first / 2 + pair) * 2 * panel + 2 * j, words[pair]);
        }
}

// Panel from b(k, j) = from[j * stride + k].
void bf16_pack_panel_transposed(BFloat16* to, float const* from, std::int64_t stride, std::int64_t k,
                                std::int64_t columns) {
    for (std::int64_t first = 0; first < Bf16Forms::padded(k); first += step)
        for (std::int64_t j = 0; j < panel; j += lanes) {
            F16 words[lanes];
            for (std::int64_t i = 0; i < lanes; ++i) {
                float const* const row = from + (j + i) * stride + first;
                std::int64_t const count = j + i < columns ? k - first : 0;
                words[i] = row_words(count > 0 ? load(row, count) : set(0.0F),
                                     count > lanes ? load(row + lanes, count - lanes) : set(0.0F));
            }
            transpose(words);
            for (int pair = 0; pair < lanes; ++pair)
                store_words(to + (first / 2 + pair) * 2 * panel + 2 * j, words[pair]);
        }
}

template <class E>
void finish_rows(E* c, std::int64_t stride, float const* sums, float const* bias, bool add, std::int64_t rows,
                 std::int64_t columns) {
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; j += lanes) {
            F16 sum = load(sums + i * panel + j);
            E* const at = c + i * stride + j;
            if (bias != nullptr) sum = sum + load(bias + j, columns - j);
            if (add) sum = load(at, columns - j) + sum;
            store(at, sum, columns - j);
        }
}

void copy_through(float* to, std::int64_t stride, float const* sums, std::int64_t rows) {
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < panel; j += lanes)
            store_streaming(to + i * stride + j, load(sums + i * panel + j));
    finish_streaming();
}

}  // namespace

void fill_product_bf16(KernelTable& table) {
#if defined(SELVAGE_SIMD_AMX)
    table.bf16_order = Bf16Order::tiles;
#endif
    table.bf16_product = bf16_product;
    table.bf16_pack_rows = bf16_pack_rows;
    table.bf16_pack_columns = bf16_pack_columns;
    table.bf16_pack_panel = pack_panel_of_rows<BFloat16>;
    table.bf16_pack_panel_of_floats = pack_panel_of_rows<float>;
    table.bf16_pack_panel_transposed = bf16_pack_panel_transposed;
    table.copy_through = copy_through;
    table.bf16_finish = finish_rows<BFloat16>;
    table.bf16_finish_floats = finish_rows<float>;
}

}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/tile.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t block = 64;
constexpr std::int64_t width = lanes * tile_vectors;

using Backward = AttentionBackward<float>;
using Packed = AttentionPacked<float>;

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

struct PackedKeys {
    float* keys_transposed;    // [depth][64]
    float* values_transposed;  // [depth][64]
    float* keys;               // [64][depth]

    PackedKeys(Backward const& t, Packed const& size, std::int64_t index)
        : keys_transposed(t.packed + index * size.keys_floats()),
          values_transposed(keys_transposed + block * size.depth),
          keys(values_transposed + block * size.depth) {}
};

struct PackedRows {
    float* queries;      // [64][depth]
    float* d_out;        // [64][depth]
    float* d_queries;    // [64][depth]
    float* log_sum_exp;  // [64]
    float* mean;         // [64], d_out out

    PackedRows(Backward const& t, Packed const& size, std::int64_t head, std::int64_t index)
        : queries(t.packed + size.rows_offset(head, index)),
          d_out(queries + block * size.depth),
          d_queries(d_out + block * size.depth),
          log_sum_exp(d_queries + block * size.depth),
          mean(log_sum_exp + block) {}
};

// What one block of keys needs while it is worked on.
struct Workspace {
    float* d_keys;    // [64][depth]
    float* d_values;  // [64][depth]
    float* weights;   // [64 rows][64 keys]
    float* d_scores;  // [64 rows][64 keys]

    Workspace(Backward const& t, Packed const& size)
        : d_keys(t.workspace),
          d_values(d_keys + block * size.depth),
          weights(d_values + block * size.depth),
          d_scores(weights + block * block) {}
};

void copy_block(float* to, std::int64_t depth, float const* from, std::int64_t stride, std::int64_t rows,
                std::int64_t columns) {
    for (std::int64_t i = 0; i < block; ++i)
        for (std::int64_t j = 0; j < depth; j += lanes)
            store(to + i * depth + j, i < rows && j < columns ? load(from + i * stride + j, columns - j) : set(0.0F));
}

// to[depth][64] = from[rows][columns]^T, zeros elsewhere
void copy_transposed(float* to, std::int64_t depth, float const* from, std::int64_t stride, std::int64_t rows,
                     std::int64_t columns) {
    for (std::int64_t i = 0; i < block; i += lanes)
        for (std::int64_t j = 0; j < depth; j += lanes) {
            F16 x[lanes];
            for (int r = 0; r < lanes; ++r)
                x[r] = i + r < rows && j < columns ? load(from + (i + r) * stride + j, columns - j) : set(0.0F);
            transpose(x);
            for (int r = 0; r < lanes; ++r) store(to + (j + r) * block + i, x[r]);
        }
}

void pack(Backward const& t, std::int64_t index) {
    Packed const size(t.head_size, t.rows, t.group);
    PackedKeys const to(t, size, index);
    std::int64_t const rows = smaller(block, t.rows - index * block);
    std::int64_t const from = index * block * t.key_stride;
    copy_transposed(to.keys_transposed, size.depth, t.keys + from, t.key_stride, rows, t.head_size);
    copy_transposed(to.values_transposed, size.depth, t.values + from, t.key_stride, rows, t.head_size);
    copy_block(to.keys, size.depth, t.keys + from, t.key_stride, rows, t.head_size);
    for (std::int64_t head = 0; head < t.group; ++head) {
        PackedRows const head_rows(t, size, head, index);
        std::int64_t const offset = index * block * t.query_stride + head * t.head_size;
        copy_block(head_rows.queries, size.depth, t.queries + offset, t.query_stride, rows, t.head_size);
        copy_block(head_rows.d_out, size.depth, t.d_out + offset, t.query_stride, rows, t.head_size);
        copy_block(head_rows.d_queries, size.depth, nullptr, 0, 0, 0);
        for (std::int64_t i = 0; i < rows; ++i) {
            float const* const out = t.out + offset + i * t.query_stride;
            F16 dot = set(0.0F);
            for (std::int64_t d = 0; d < t.head_size; d += lanes)
                dot = fma(load(head_rows.d_out + i * size.depth + d), load(out + d, t.head_size - d), dot);
            head_rows.mean[i] = reduce_add(dot);
            head_rows.log_sum_exp[i] = t.log_sum_exp[(index * block + i) * t.heads + head];
        }
    }
}

// Calls function.template operator()<vectors>(column) over columns in steps of a tile, then of a vector.
template <class Function>
SELVAGE_INLINE void over_columns(std::int64_t columns, Function const& function) {
    std::int64_t j = 0;
    for (; j + width <= columns; j += width) function.template operator()<tile_vectors>(j);
    for (; j < columns; j += lanes) function.template operator()<1>(j);
}

// scores[rows][64] = a[rows][depth] b[depth][64]; on the diagonal row i needs the keys 0 .. i alone.
void score_product(float* scores, float const* a, std::int64_t a_stride, float const* b, std::int64_t depth,
                   std::int64_t rows, bool diagonal) {
    for (std::int64_t i = 0; i < rows; i += tile_rows)
        with_rows(rows - i, [&]<int Rows>() {
            over_columns(diagonal ? smaller(block, i + Rows) : block, [&]<int Vectors>(std::int64_t j) {
                F16 acc[Rows][Vectors];
                clear(acc);
                chain(acc, a + i * a_stride, a_stride, 1, b + j, block, depth);
                for (int r = 0; r < Rows; ++r)
                    for (int v = 0; v < Vectors; ++v) store(scores + (i + r) * block + j + v * lanes, acc[r][v]);
            });
        });
}

// c[rows][columns] += a b, the chain going on from c; a(i, k) = a[i a_row + k a_k], b [.][depth]. On the diagonal the
// a(i, k) are zero for k < i (where Lower) or for i < k.
template <bool Lower>
void add_product(float* c, std::int64_t rows, std::int64_t columns, float const* a, std::int64_t a_row,
                 std::int64_t a_k, float const* b, std::int64_t depth, std::int64_t count, bool diagonal) {
    for (std::int64_t i = 0; i < rows; i += tile_rows)
        with_rows(rows - i, [&]<int Rows>() {
            std::int64_t const begin = diagonal && Lower ? i : 0;
            std::int64_t const end = diagonal && !Lower ? smaller(count, i + Rows) : count;
            over_columns(columns, [&]<int Vectors>(std::int64_t j) {
                F16 acc[Rows][Vectors];
                for (int r = 0; r < Rows; ++r)
                    for (int v = 0; v < Vectors; ++v) acc[r][v] = load(c + (i + r) * depth + j + v * lanes);
                chain(acc, a + i * a_row + begin * a_k, a_row, a_k, b + begin * depth + j, depth, end - begin);
                for (int r = 0; r < Rows; ++r)
                    for (int v = 0; v < Vectors; ++v) store(c + (i + r) * depth + j + v * lanes, acc[r][v]);
            });
        });
}

// Scores and dP to weights and their gradients. A row's keys are those before visible + i and, where Special, from
// begin + i on; Special with capped scores too.
template <bool Special>
void weights(Backward const& t, Workspace const& w, PackedRows const& x, std::int64_t rows, std::int64_t visible,
             std::int64_t begin) {
    for (std::int64_t i = 0; i < rows; ++i) {
        F16 const mean = set(x.mean[i]);
        F16 const log_sum_exp = set(x.log_sum_exp[i]);
        for (std::int64_t j = 0; j < block; j += lanes) {
            float* const p = w.weights + i * block + j;
            float* const ds = w.d_scores + i * block + j;
            F16 score = load(p) * set(t.scale);
            if (Special && t.softcap != 0.0F) score = softcap(score, t.softcap);
            F16 weight = exp(score - log_sum_exp);
            F16 d_score = weight * (load(ds) - mean) * set(t.scale);
            if (Special && t.softcap != 0.0F) d_score = d_score * softcap_slope(score, t.softcap);
            if (visible < block) {
                weight = first(visible + i - j, weight, set(0.0F));
                d_score = first(visible + i - j, d_score, set(0.0F));
            }
            if constexpr (Special) {
                weight = first(begin + i - j, set(0.0F), weight);
                d_score = first(begin + i - j, set(0.0F), d_score);
            }
            store(p, weight);
            store(ds, d_score);
        }
    }
}

// One block of 64 rows of one head against one block of 64 keys.
void row_block(Backward const& t, Packed const& size, std::int64_t head, std::int64_t row_index,
               std::int64_t key_index) {
    PackedRows const x(t, size, head, row_index);
    PackedKeys const k(t, size, key_index);
    Workspace const w(t, size);
    bool const diagonal = row_index == key_index;
    std::int64_t const rows = smaller(block, t.rows - row_index * block);
    std::int64_t const keys = smaller(block, t.rows - key_index * block);
    score_product(w.weights, x.queries, size.depth, k.keys_transposed, t.head_size, rows, diagonal);
    score_product(w.d_scores, x.d_out, size.depth, k.values_transposed, t.head_size, rows, diagonal);
    std::int64_t const visible = diagonal ? 1 : block;
    std::int64_t const begin = (row_index - key_index) * block + 1 - t.window;
    if (t.softcap != 0.0F || begin + block > 1)
        weights<true>(t, w, x, rows, visible, begin);
    else
        weights<false>(t, w, x, rows, visible, begin);
    add_product<true>(w.d_values, keys, t.head_size, w.weights, 1, block, x.d_out, size.depth, rows, diagonal);
    add_product<true>(w.d_keys, keys, t.head_size, w.d_scores, 1, block, x.queries, size.depth, rows, diagonal);
    add_product<false>(x.d_queries, rows, t.head_size, w.d_scores, block, 1, k.keys, size.depth, keys, diagonal);
}

void begin_keys(Backward const& t) {
    Packed const size(t.head_size, t.rows, t.group);
    Workspace const w(t, size);
    copy_block(w.d_keys, size.depth, nullptr, 0, 0, 0);
    copy_block(w.d_values, size.depth, nullptr, 0, 0, 0);
}

void row_blocks(Backward const& t, std::int64_t key_index, std::int64_t head, std::int64_t first_row,
                std::int64_t end_row) {
    Packed const size(t.head_size, t.rows, t.group);
    for (std::int64_t i = first_row; i < end_row && t.first_keys(i) <= key_index; ++i)
        row_block(t, size, head, i, key_index);
}

void write_block(float* to, std::int64_t stride, float const* from, std::int64_t depth, std::int64_t rows,
                 std::int64_t columns) {
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t d = 0; d < columns; d += lanes)
            store(to + i * stride + d, load(from + i * depth + d), columns - d);
}

void end_keys(Backward const& t, std::int64_t index) {
    Packed const size(t.head_size, t.rows, t.group);
    Workspace const w(t, size);
    std::int64_t const rows = smaller(block, t.rows - index * block);
    std::int64_t const to = index * block * t.key_stride;
    write_block(t.d_keys + to, t.key_stride, w.d_keys, size.depth, rows, t.head_size);
    write_block(t.d_values + to, t.key_stride, w.d_values, size.depth, rows, t.head_size);
    for (std::int64_t head = 0; head < t.group; ++head)
        write_block(t.d_queries + index * block * t.query_stride + head * t.head_size, t.query_stride,
                    PackedRows(t, size, head, index).d_queries, size.depth, rows, t.head_size);
}

}  // namespace

void fill_attention_backward(KernelTable& table) {
    table.attention_backward = {.pack = pack, .begin_keys = begin_keys, .row_blocks = row_blocks, .end_keys = end_keys};
}

}  // namespace selvage::kernels::SELVAGE_ISA

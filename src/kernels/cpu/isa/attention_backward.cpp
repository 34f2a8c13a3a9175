// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/tile.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t block = 64;
constexpr std::int64_t width = lanes * tile_vectors;

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// A square or tall block of at most 64 rows, padded with zeros to whole vectors.
struct Blocks {
    std::int64_t padded;
    float* keys_transposed;    // [head_size][64]
    float* values_transposed;  // [head_size][64]
    float* keys;               // [64][padded], as the following
    float* queries;
    float* d_out;
    float* d_keys;
    float* d_values;
    float* weights;   // [64 rows][64 keys]
    float* d_scores;  // [64 rows][64 keys]

    Blocks(float* memory, std::int64_t head_size) : padded((head_size + block - 1) / block * block) {
        float** const members[] = {&keys_transposed, &values_transposed, &keys, &queries, &d_out, &d_keys, &d_values};
        for (float** const member : members) {
            *member = memory;
            memory += block * padded;
        }
        weights = memory;
        d_scores = memory + block * block;
    }
};

void copy_block(float* to, std::int64_t padded, float const* from, std::int64_t stride, std::int64_t rows,
                std::int64_t columns) {
    for (std::int64_t i = 0; i < block; ++i)
        for (std::int64_t j = 0; j < padded; j += lanes)
            store(to + i * padded + j, i < rows && j < columns ? load(from + i * stride + j, columns - j) : set(0.0F));
}

void copy_transposed(float* to, float const* from, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
    for (std::int64_t i = 0; i < block; ++i)
        for (std::int64_t j = 0; j < columns; ++j) to[j * block + i] = i < rows ? from[i * stride + j] : 0.0F;
}

// scores[64][64] = a[64][padded] b[head_size][64]
void score_product(float* scores, float const* a, std::int64_t padded, float const* b, std::int64_t head_size,
                   std::int64_t rows) {
    for (std::int64_t i = 0; i < rows; i += tile_rows)
        with_rows(rows - i, [&]<int Rows>() {
            for (std::int64_t j = 0; j < block; j += width) {
                F16 acc[Rows][tile_vectors];
                clear(acc);
                chain(acc, a + i * padded, padded, 1, b + j, block, head_size);
                for (int r = 0; r < Rows; ++r)
                    for (int v = 0; v < tile_vectors; ++v) store(scores + (i + r) * block + j + v * lanes, acc[r][v]);
            }
        });
}

// c[rows][columns] += a b, the chain going on from c; a(i, k) = a[i a_row + k a_k], b [count][padded].
void add_product(float* c, std::int64_t c_stride, std::int64_t rows, std::int64_t columns, float const* a,
                 std::int64_t a_row, std::int64_t a_k, float const* b, std::int64_t padded, std::int64_t count) {
    for (std::int64_t i = 0; i < rows; i += tile_rows)
        with_rows(rows - i, [&]<int Rows>() {
            for (std::int64_t j = 0; j < columns; j += width) {
                F16 acc[Rows][tile_vectors];
                for (int r = 0; r < Rows; ++r)
                    for (int v = 0; v < tile_vectors; ++v) {
                        std::int64_t const column = j + v * lanes;
                        acc[r][v] =
                            column < columns ? load(c + (i + r) * c_stride + column, columns - column) : set(0.0F);
                    }
                chain(acc, a + i * a_row, a_row, a_k, b + j, padded, count);
                for (int r = 0; r < Rows; ++r)
                    for (int v = 0; v < tile_vectors; ++v) {
                        std::int64_t const column = j + v * lanes;
                        if (column < columns) store(c + (i + r) * c_stride + column, acc[r][v], columns - column);
                    }
            }
        });
}

// One block of 64 rows of one head against one block of 64 keys.
void row_block(AttentionBackward<float> const& t, Blocks const& x, std::int64_t head, std::int64_t first_row,
               std::int64_t first_key) {
    std::int64_t const rows = smaller(block, t.rows - first_row);
    std::int64_t const keys = smaller(block, t.rows - first_key);
    std::int64_t const offset = first_row * t.query_stride + head * t.head_size;
    copy_block(x.queries, x.padded, t.queries + offset, t.query_stride, rows, t.head_size);
    copy_block(x.d_out, x.padded, t.d_out + offset, t.query_stride, rows, t.head_size);
    score_product(x.weights, x.queries, x.padded, x.keys_transposed, t.head_size, rows);
    score_product(x.d_scores, x.d_out, x.padded, x.values_transposed, t.head_size, rows);
    for (std::int64_t i = 0; i < rows; ++i) {
        float const* const out = t.out + offset + i * t.query_stride;
        F16 dot = set(0.0F);
        for (std::int64_t d = 0; d < t.head_size; d += lanes)
            dot = fma(load(x.d_out + i * x.padded + d), load(out + d, t.head_size - d), dot);
        F16 const mean = set(reduce_add(dot));
        F16 const log_sum_exp = set(t.log_sum_exp[(first_row + i) * t.heads + head]);
        for (std::int64_t j = 0; j < block; j += lanes) {
            float* const p = x.weights + i * block + j;
            float* const ds = x.d_scores + i * block + j;
            F16 const weight =
                first(first_row + i + 1 - first_key - j, exp(load(p) * set(t.scale) - log_sum_exp), set(0.0F));
            store(p, weight);
            store(ds, weight * (load(ds) - mean) * set(t.scale));
        }
    }
    add_product(x.d_values, x.padded, keys, t.head_size, x.weights, 1, block, x.d_out, x.padded, rows);
    add_product(x.d_keys, x.padded, keys, t.head_size, x.d_scores, 1, block, x.queries, x.padded, rows);
    add_product(t.d_queries + offset, t.query_stride, rows, t.head_size, x.d_scores, block, 1, x.keys, x.padded, keys);
}

void attention_backward(AttentionBackward<float> const& t) {
    Blocks const x(t.workspace, t.head_size);
    for (std::int64_t row = 0; row < t.rows; ++row)
        for (std::int64_t i = 0; i < t.group * t.head_size; i += lanes)
            store(t.d_queries + row * t.query_stride + i, set(0.0F), t.group * t.head_size - i);
    for (std::int64_t first_key = 0; first_key < t.rows; first_key += block) {
        std::int64_t const keys = smaller(block, t.rows - first_key);
        std::int64_t const offset = first_key * t.key_stride;
        copy_block(x.keys, x.padded, t.keys + offset, t.key_stride, keys, t.head_size);
        copy_transposed(x.keys_transposed, t.keys + offset, t.key_stride, keys, t.head_size);
        copy_transposed(x.values_transposed, t.values + offset, t.key_stride, keys, t.head_size);
        copy_block(x.d_keys, x.padded, nullptr, 0, 0, 0);
        copy_block(x.d_values, x.padded, nullptr, 0, 0, 0);
        for (std::int64_t head = 0; head < t.group; ++head)
            for (std::int64_t first_row = first_key; first_row < t.rows; first_row += block)
                row_block(t, x, head, first_row, first_key);
        for (std::int64_t key = 0; key < keys; ++key)
            for (std::int64_t d = 0; d < t.head_size; d += lanes) {
                std::int64_t const to = offset + key * t.key_stride + d;
                store(t.d_keys + to, load(x.d_keys + key * x.padded + d), t.head_size - d);
                store(t.d_values + to, load(x.d_values + key * x.padded + d), t.head_size - d);
            }
    }
}

}  // namespace

void fill_attention_backward(KernelTable& table) { table.attention_backward = attention_backward; }

}  // namespace selvage::kernels::SELVAGE_ISA

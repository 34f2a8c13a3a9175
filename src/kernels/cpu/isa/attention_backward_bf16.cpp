// SPDX-License-Identifier: Apache-2.0
// Weights P and their gradients dS are computed for 64 rows (the queries of one head) by 64 keys at a time. The
// gradients of keys and values are summed transposed, [head_size][64 keys], as P and dS then serve as right factors.
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/pair_product.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t block = 64;
constexpr std::int64_t half = block / 2;

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

using Backward = AttentionBackward<BFloat16>;
using Packed = AttentionPacked<BFloat16>;

struct PackedKeys {
    BFloat16* keys_transposed;    // pairs [depth / 2][64][2]
    BFloat16* values_transposed;  // the same
    BFloat16* keys;               // pairs [32][depth][2]

    PackedKeys(Backward const& t, Packed const& size, std::int64_t index) {
        auto* const p = reinterpret_cast<BFloat16*>(t.packed + index * size.keys_floats());
        keys_transposed = p;
        values_transposed = p + block * size.depth;
        keys = p + 2 * block * size.depth;
    }
};

struct PackedRows {
    BFloat16* queries;             // [64][depth]
    BFloat16* d_out;               // [64][depth]
    BFloat16* queries_transposed;  // [depth][64]
    BFloat16* d_out_transposed;    // [depth][64]
    float* log_sum_exp;            // [64], in powers of two; infinite past the last row
    float* mean;                   // [64], d_out out
    float* d_queries;              // [64][depth]

    PackedRows(Backward const& t, Packed const& size, std::int64_t head, std::int64_t index) {
        float* const memory = t.packed + size.rows_offset(head, index);
        auto* const p = reinterpret_cast<BFloat16*>(memory);
        queries = p;
        d_out = p + block * size.depth;
        queries_transposed = p + 2 * block * size.depth;
        d_out_transposed = p + 3 * block * size.depth;
        log_sum_exp = memory + 4 * half * size.depth;
        mean = log_sum_exp + block;
        d_queries = mean + block;
    }
};

// What one block of keys needs while it is worked on.
struct Workspace {
    float* d_keys;    // [depth][64]
    float* d_values;  // [depth][64]
    float* scores;    // [64 rows][64 keys]
    float* d_weights;
    BFloat16* weight_pairs;   // [32][64][2]
    BFloat16* d_score_pairs;  // [32][64][2]
    BFloat16* d_scores;       // [64][64]

    Workspace(Backward const& t, Packed const& size) {
        d_keys = t.workspace;
        d_values = d_keys + block * size.depth;
        scores = d_values + block * size.depth;
        d_weights = scores + block * block;
        weight_pairs = reinterpret_cast<BFloat16*>(d_weights + block * block);
        d_score_pairs = weight_pairs + block * block;
        d_scores = d_score_pairs + block * block;
    }
};

void pack_keys(Backward const& t, Packed const& size, std::int64_t index) {
    PackedKeys const to(t, size, index);
    std::int64_t const rows = smaller(block, t.rows - index * block);
    BFloat16 const* const keys = t.keys + index * block * t.key_stride;
    BFloat16 const* const values = t.values + index * block * t.key_stride;
    for (std::int64_t i = 0; i < block; i += lanes) {
        std::int64_t const from = i * t.key_stride;
        pack_transposed_pairs(to.keys_transposed + 2 * i, 2 * block, size.depth, keys + from, t.key_stride, rows - i,
                              t.head_size);
        pack_transposed_pairs(to.values_transposed + 2 * i, 2 * block, size.depth, values + from, t.key_stride,
                              rows - i, t.head_size);
    }
    pack_pairs(to.keys, block, size.depth, keys, t.key_stride, rows, t.head_size);
}

void copy_rows(BFloat16* to, std::int64_t depth, BFloat16 const* from, std::int64_t stride, std::int64_t rows,
               std::int64_t columns) {
    for (std::int64_t i = 0; i < block; ++i)
        for (std::int64_t j = 0; j < depth; j += lanes)
            store(to + i * depth + j, i < rows && j < columns ? load(from + i * stride + j, columns - j) : set(0.0F));
}

void pack_rows(Backward const& t, Packed const& size, std::int64_t head, std::int64_t index) {
    PackedRows const to(t, size, head, index);
    std::int64_t const rows = smaller(block, t.rows - index * block);
    std::int64_t const offset = index * block * t.query_stride + head * t.head_size;
    copy_rows(to.queries, size.depth, t.queries + offset, t.query_stride, rows, t.head_size);
    copy_rows(to.d_out, size.depth, t.d_out + offset, t.query_stride, rows, t.head_size);
    for (std::int64_t i = 0; i < block; i += half) {
        pack_transposed(to.queries_transposed + i, block, size.depth, to.queries + i * size.depth, size.depth, half,
                        size.depth);
        pack_transposed(to.d_out_transposed + i, block, size.depth, to.d_out + i * size.depth, size.depth, half,
                        size.depth);
    }
    for (std::int64_t i = 0; i < block; ++i) {
        to.mean[i] = 0;
        to.log_sum_exp[i] = __builtin_inff();
        if (i >= rows) continue;
        BFloat16 const* const out = t.out + offset + i * t.query_stride;
        F16 dot = set(0.0F);
        for (std::int64_t d = 0; d < t.head_size; d += lanes)
            dot = fma(load(to.d_out + i * size.depth + d), load(out + d, t.head_size - d), dot);
        to.mean[i] = reduce_add(dot);
        to.log_sum_exp[i] = t.log_sum_exp[(index * block + i) * t.heads + head] * 1.44269504088896341F;
    }
}

// Which of a block's scores are seen: by row i those of the keys begin + i .. end + i - 1.
struct Seen {
    std::int64_t begin, end;
};

// Of two rows and 32 keys: P and dS from scores and dP. Special: with capped scores, or a window that begins here.
template <bool Special>
SELVAGE_INLINE void two_rows(Backward const& t, Workspace const& w, PackedRows const& rows, std::int64_t i,
                             std::int64_t key, Seen const& seen) {
    float const scale = t.scale * 1.44269504088896341F;
    std::int64_t const visible = seen.end + i - key;
    F16 weight[2][2];
    F16 d_score[2][2];
    for (int r = 0; r < 2; ++r) {
        F16 const log_sum_exp = set(-rows.log_sum_exp[i + r]);
        F16 const mean = set(rows.mean[i + r]);
        for (int v = 0; v < 2; ++v) {
            std::int64_t const at = (i + r) * block + key + v * lanes;
            F16 score = load(w.scores + at);
            bool const capped = Special && t.softcap != 0.0F;
            if (capped) score = softcap(score * set(t.scale), t.softcap);
            weight[r][v] = exp2_coarse(fma(score, set(capped ? 1.44269504088896341F : scale), log_sum_exp));
            if (visible < 2 * lanes) weight[r][v] = first(visible + r - v * lanes, weight[r][v], set(0.0F));
            if constexpr (Special) weight[r][v] = first(seen.begin + i + r - key - v * lanes, set(0.0F), weight[r][v]);
            d_score[r][v] = weight[r][v] * (load(w.d_weights + at) - mean);
            if (capped) d_score[r][v] = d_score[r][v] * softcap_slope(score, t.softcap);
        }
        store(w.d_scores + (i + r) * block + key, d_score[r][0], d_score[r][1]);
    }
    for (int v = 0; v < 2; ++v) {
        std::int64_t const at = i * block + 2 * (key + v * lanes);
        store_words(w.weight_pairs + at, rounded_pairs(weight[0][v], weight[1][v]));
        store_words(w.d_score_pairs + at, rounded_pairs(d_score[0][v], d_score[1][v]));
    }
}

// c[depth][64 keys] += a[depth][64 rows] pairs; on the diagonal the first 32 rows do not see the last 32 keys.
void add_transposed(float* c, BFloat16 const* a, BFloat16 const* pairs, std::int64_t depth, bool diagonal, bool add) {
    PairProduct x{.c = c,
                  .c_stride = block,
                  .a = a,
                  .a_stride = block,
                  .b = pairs,
                  .b_stride = 2 * block,
                  .depth = block,
                  .add = add};
    if (!diagonal) return pair_product(x, depth, block);
    pair_product(x, depth, half);
    x.c += half;
    x.a += half;
    x.b += half * block + 2 * half;
    x.depth = half;
    pair_product(x, depth, half);
}

// A block of 64 rows of one head against a block of 64 keys.
void row_block(Backward const& t, Packed const& size, std::int64_t head, std::int64_t row_index, std::int64_t key_index,
               bool first_of_keys) {
    PackedRows const rows(t, size, head, row_index);
    PackedKeys const keys(t, size, key_index);
    Workspace const w(t, size);
    bool const diagonal = row_index == key_index;
    auto const scores = [&](float* to, BFloat16 const* a, BFloat16 const* b) {
        std::int64_t const step = diagonal ? half : block;
        for (std::int64_t i = 0; i < block; i += step)
            pair_product({.c = to + i * block,
                          .c_stride = block,
                          .a = a + i * size.depth,
                          .a_stride = size.depth,
                          .b = b,
                          .b_stride = 2 * block,
                          .depth = size.depth,
                          .add = false},
                         step, i + step);
    };
    scores(w.scores, rows.queries, keys.keys_transposed);
    scores(w.d_weights, rows.d_out, keys.values_transposed);
    Seen const seen{(row_index - key_index) * block + 1 - t.window, diagonal ? 1 : 2 * block};
    bool const special = t.softcap != 0.0F || seen.begin + block > 1;
    for (std::int64_t i = 0; i < block; i += 2)
        for (std::int64_t key = 0; key < (diagonal ? (i / half + 1) * half : block); key += half)
            special ? two_rows<true>(t, w, rows, i, key, seen) : two_rows<false>(t, w, rows, i, key, seen);
    add_transposed(w.d_values, rows.d_out_transposed, w.weight_pairs, size.depth, diagonal, !first_of_keys);
    add_transposed(w.d_keys, rows.queries_transposed, w.d_score_pairs, size.depth, diagonal, !first_of_keys);
    std::int64_t const step = diagonal ? half : block;
    for (std::int64_t i = 0; i < block; i += step)
        pair_product({.c = rows.d_queries + i * size.depth,
                      .c_stride = size.depth,
                      .a = w.d_scores + i * block,
                      .a_stride = block,
                      .b = keys.keys,
                      .b_stride = 2 * size.depth,
                      .depth = i + step,
                      .add = key_index > t.first_keys(row_index)},
                     step, size.depth);
}

// to[rows][columns] = scale from[columns][64]^T
void store_transposed(BFloat16* to, std::int64_t stride, float const* from, std::int64_t rows, std::int64_t columns,
                      float scale) {
    for (std::int64_t i = 0; i < rows; i += lanes)
        for (std::int64_t j = 0; j < columns; j += lanes) {
            F16 x[lanes];
            for (int r = 0; r < lanes; ++r) x[r] = load(from + (j + r) * block + i);
            transpose(x);
            for (int r = 0; r < lanes && i + r < rows; ++r)
                store(to + (i + r) * stride + j, x[r] * set(scale), columns - j);
        }
}

void pack(Backward const& t, std::int64_t index) {
    Packed const size(t.head_size, t.rows, t.group);
    pack_keys(t, size, index);
    for (std::int64_t head = 0; head < t.group; ++head) pack_rows(t, size, head, index);
}

void begin_keys(Backward const&) {}

void row_blocks(Backward const& t, std::int64_t key_index, std::int64_t head, std::int64_t first_row,
                std::int64_t end_row) {
    Packed const size(t.head_size, t.rows, t.group);
    TileRegisters const registers(lanes);
    for (std::int64_t i = first_row; i < end_row && t.first_keys(i) <= key_index; ++i)
        row_block(t, size, head, i, key_index, head == 0 && i == key_index);
}

void end_keys(Backward const& t, std::int64_t index) {
    Packed const size(t.head_size, t.rows, t.group);
    Workspace const w(t, size);
    std::int64_t const count = smaller(block, t.rows - index * block);
    std::int64_t const offset = index * block * t.key_stride;
    store_transposed(t.d_keys + offset, t.key_stride, w.d_keys, count, t.head_size, t.scale);
    store_transposed(t.d_values + offset, t.key_stride, w.d_values, count, t.head_size, 1);
    for (std::int64_t head = 0; head < t.group; ++head) {
        float const* const from = PackedRows(t, size, head, index).d_queries;
        BFloat16* const to = t.d_queries + index * block * t.query_stride + head * t.head_size;
        for (std::int64_t i = 0; i < count; ++i)
            for (std::int64_t d = 0; d < t.head_size; d += lanes)
                store(to + i * t.query_stride + d, load(from + i * size.depth + d) * set(t.scale), t.head_size - d);
    }
}

}  // namespace

void fill_attention_backward_bf16(KernelTable& table) {
    table.attention_backward_bf16 = {
        .pack = pack, .begin_keys = begin_keys, .row_blocks = row_blocks, .end_keys = end_keys};
}

}  // namespace selvage::kernels::SELVAGE_ISA

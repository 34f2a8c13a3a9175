// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/pair_product.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t page_tokens = 64;
constexpr std::int64_t pages_per_split = 8;
constexpr std::int64_t max_head = 256;
constexpr std::int64_t max_queries = AttentionTile<BFloat16>::max_queries;

std::int64_t rounded_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// Running softmax of a split, in powers of two: weights are 2^(score - max), scores times scale log2(e).
struct State {
    float max[max_queries];
    float sum[max_queries];
    alignas(64) float value[max_queries * max_head];
};

struct Work {
    AttentionTile<BFloat16> const& t;
    std::int64_t const depth = rounded_up(t.head_size, 32);
    float const scale = t.scale * 1.44269504088896341F;
    alignas(64) BFloat16 queries[max_queries * max_head];
    alignas(64) float scores[max_queries * page_tokens];
    alignas(64) BFloat16 weights[max_queries * page_tokens];
    alignas(64) float shrink[max_queries];
    alignas(64) float product[max_queries * max_head];
    alignas(64) BFloat16 copy[page_tokens * max_head];

    explicit Work(AttentionTile<BFloat16> const& tile) : t(tile) {
        for (std::int64_t i = 0; i < t.queries; ++i)
            for (std::int64_t d = 0; d < depth; d += lanes)
                store(queries + i * depth + d, d < t.head_size ? load(t.query[i] + d, t.head_size - d) : set(0.0F));
    }

    // Keys [head_size / 2][64][2] with zeros up to the depth of a product.
    BFloat16 const* keys(BFloat16 const* page) {
        if (t.head_size == depth) return page;
        for (std::int64_t i = 0; i < depth * page_tokens; i += 2 * lanes)
            store_words(copy + i, i < t.head_size * page_tokens ? load_words(page + i) : set(0.0F));
        return copy;
    }
    // Values [32][head_size][2] with zeros from token `stored` on, up to token `tokens`, and up to the depth.
    BFloat16 const* values(BFloat16 const* page, std::int64_t stored, std::int64_t tokens) {
        if (t.head_size == depth && stored >= tokens) return page;
        for (std::int64_t i = 0; i < tokens; i += 2)
            for (std::int64_t d = 0; d < depth; d += lanes) {
                F16 x = set(0.0F);
                if (i < stored && d < t.head_size) x = load_words(page + i * t.head_size + 2 * d, t.head_size - d);
                if (i + 1 == stored) x = even_only(x);
                store_words(copy + i * depth + 2 * d, x);
            }
        return copy;
    }
};

// Weights and sums of one row over the first `keys` keys of a page; zeros up to key `width`.
void row_weights(Work& w, State& state, std::int64_t i, std::int64_t keys, std::int64_t width) {
    float* const score = w.scores + i * page_tokens;
    F16 largest = set(-__builtin_inff());
    for (std::int64_t key = 0; key < keys; key += lanes) {
        F16 const x = first(keys - key, load(score + key), set(-__builtin_inff()));
        store(score + key, x);
        largest = max(largest, x);
    }
    float const new_max = larger(state.max[i], reduce_max(largest) * w.scale);
    F16 sum = set(0.0F);
    for (std::int64_t key = 0; key < width; key += 2 * lanes) {
        F16 p[2] = {set(0.0F), set(0.0F)};
        for (int v = 0; v < 2; ++v)
            if (key + v * lanes < keys) {
                p[v] = exp2_coarse(fma(load(score + key + v * lanes), set(w.scale), set(-new_max)));
                sum = sum + p[v];
            }
        store(w.weights + i * page_tokens + key, p[0], p[1]);
    }
    float shrink[lanes];
    store(shrink, exp2_coarse(set(state.max[i] - new_max)));
    w.shrink[i] = shrink[0];
    state.sum[i] = __builtin_fmaf(state.sum[i], shrink[0], reduce_add(sum));
    state.max[i] = new_max;
}

void one_page(Work& w, State& state, std::int64_t page) {
    AttentionTile<BFloat16> const& t = w.t;
    BFloat16 const* const keys = t.pages + t.page_table[page] * t.page_size;
    std::int64_t const visible = smaller(page_tokens, t.position[t.queries - 1] + 1 - page * page_tokens);
    pair_product({.c = w.scores,
                  .c_stride = page_tokens,
                  .a = w.queries,
                  .a_stride = w.depth,
                  .b = w.keys(keys),
                  .b_stride = 2 * page_tokens,
                  .depth = w.depth,
                  .add = false},
                 t.queries, rounded_up(visible, lanes));
    std::int64_t const width = rounded_up(visible, 2 * lanes);
    for (std::int64_t i = 0; i < t.queries; ++i)
        row_weights(w, state, i, smaller(page_tokens, t.position[i] + 1 - page * page_tokens), width);
    pair_product({.c = w.product,
                  .c_stride = w.depth,
                  .a = w.weights,
                  .a_stride = page_tokens,
                  .b = w.values(keys + t.values_offset, t.stored - page * page_tokens, width),
                  .b_stride = 2 * w.depth,
                  .depth = width,
                  .add = false},
                 t.queries, w.depth);
    for (std::int64_t i = 0; i < t.queries; ++i) {
        F16 const shrink = set(w.shrink[i]);
        for (std::int64_t d = i * w.depth; d < (i + 1) * w.depth; d += lanes)
            store(state.value + d, fma(load(state.value + d), shrink, load(w.product + d)));
    }
}

void reset(State& state, std::int64_t rows, std::int64_t depth) {
    for (std::int64_t i = 0; i < rows; ++i) {
        state.max[i] = -__builtin_inff();
        state.sum[i] = 0;
        for (std::int64_t d = 0; d < depth; d += lanes) store(state.value + i * depth + d, set(0.0F));
    }
}

float exp2_scalar(float x) {
    float result[lanes];
    store(result, exp2_coarse(set(x)));
    return result[0];
}

// total = total and split together.
void merge(State& total, State const& split, std::int64_t rows, std::int64_t depth) {
    for (std::int64_t i = 0; i < rows; ++i) {
        float const new_max = larger(total.max[i], split.max[i]);
        float const shrink_total = exp2_scalar(total.max[i] - new_max);
        float const shrink_split = exp2_scalar(split.max[i] - new_max);
        total.sum[i] = __builtin_fmaf(total.sum[i], shrink_total, split.sum[i] * shrink_split);
        total.max[i] = new_max;
        for (std::int64_t d = i * depth; d < (i + 1) * depth; d += lanes)
            store(total.value + d,
                  fma(load(total.value + d), set(shrink_total), load(split.value + d) * set(shrink_split)));
    }
}

void attention_tile(AttentionTile<BFloat16> const& t) {
    TileRegisters const registers(t.queries);
    Work work(t);
    State total;
    State split;
    reset(total, t.queries, work.depth);
    std::int64_t const pages = t.position[t.queries - 1] / page_tokens + 1;
    for (std::int64_t first_page = 0; first_page < pages; first_page += pages_per_split) {
        reset(split, t.queries, work.depth);
        for (std::int64_t page = first_page; page < pages && page < first_page + pages_per_split; ++page)
            one_page(work, split, page);
        merge(total, split, t.queries, work.depth);
    }
    for (std::int64_t i = 0; i < t.queries; ++i) {
        F16 const sum = set(total.sum[i]);
        // + 0: the sign of a zero depends on the zeros that were added.
        for (std::int64_t d = 0; d < t.head_size; d += lanes)
            store(t.out[i] + d, load(total.value + i * work.depth + d) / sum + set(0.0F), t.head_size - d);
        if (t.log_sum_exp[i] != nullptr)
            *t.log_sum_exp[i] = __builtin_fmaf(total.max[i], 0.693147180559945309F, log_scalar(total.sum[i]));
    }
}

}  // namespace

void fill_attention_bf16(KernelTable& table) { table.attention_tile_bf16 = attention_tile; }

}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/pair_product.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t page_tokens = 64;
constexpr std::int64_t pages_per_split = 8;
constexpr std::int64_t chunk = 2 * lanes;  // keys that a product takes together
constexpr std::int64_t max_head = 256;
constexpr std::int64_t max_queries = AttentionTile<BFloat16>::max_queries;
static_assert(max_queries == lanes);

std::int64_t rounded_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

// Storage of `count` elements, not set.
template <std::int64_t count>
struct Halves {
    alignas(64) unsigned char bytes[count * sizeof(BFloat16)];
    BFloat16* data() { return reinterpret_cast<BFloat16*>(bytes); }
};

// Running softmax of a split, in powers of two: weights are 2^(score - max), scores times scale log2(e).
struct State {
    alignas(64) float max[2 * max_queries];  // with room for a whole vector from any query on
    alignas(64) float sum[2 * max_queries];
    alignas(64) float value[max_queries * max_head];
};

// A page of one head. Steps go page by page, and in a page head by head, as keys and values lie in memory.
struct Step {
    std::int64_t page;
    std::int64_t head;
    std::int64_t buffer;  // 0 or 1, of scores and what rescales values
    bool is_first;        // page of a split
};

struct Work {
    AttentionTile<BFloat16> const& t;
    std::int64_t const depth = rounded_up(t.head_size, chunk);
    // Capped scores are scaled already.
    float const scale = (t.softcap == 0.0F ? t.scale : 1.0F) * 1.44269504088896341F;
    Halves<max_queries * max_head> queries;
    Halves<max_queries * page_tokens> weights;
    Halves<page_tokens * max_head> copy;
    alignas(64) float scores[2][max_queries * page_tokens];
    alignas(64) float shrink[2][max_queries];
    alignas(64) float product[max_queries * max_head];

    explicit Work(AttentionTile<BFloat16> const& tile) : t(tile) {
        for (std::int64_t i = 0; i < t.heads * t.queries; ++i)
            for (std::int64_t d = 0; d < depth; d += lanes)
                store(queries.data() + i * depth + d,
                      d < t.head_size ? load(t.query[i] + d, t.head_size - d) : set(0.0F));
    }
    // The first page that a query sees.
    std::int64_t first_page() const {
        std::int64_t const first = t.position[0] + 1 - t.window;
        return first < 0 ? 0 : first / page_tokens;
    }
    // Keys of a page that the last query sees.
    std::int64_t visible(std::int64_t page) const {
        return smaller(page_tokens, t.position[t.queries - 1] + 1 - page * page_tokens);
    }
    BFloat16 const* memory(Step const& step) const {
        return t.pages + t.page_table[step.page] * t.page_size + step.head * t.head_size * page_tokens;
    }

    // Keys [4][head_size / 2][16][2] with zeros up to the depth of a product.
    BFloat16 const* keys(BFloat16 const* page) {
        if (t.head_size == depth) return page;
        for (std::int64_t i = 0; i < page_tokens; i += lanes)
            for (std::int64_t d = 0; d < depth; d += 2)
                store_words(copy.data() + i * depth + d * lanes,
                            d < t.head_size ? load_words(page + i * t.head_size + d * lanes) : set(0.0F));
        return copy.data();
    }
    // Values of the tokens first .. end - 1 with zeros from token `stored` on and up to the depth.
    BFloat16 const* copied_values(BFloat16 const* page, std::int64_t first_token, std::int64_t end,
                                  std::int64_t stored) {
        for (std::int64_t i = first_token; i < end; i += 2)
            for (std::int64_t d = 0; d < depth; d += lanes) {
                F16 x = set(0.0F);
                if (i < stored && d < t.head_size) x = load_words(page + i * t.head_size + 2 * d, t.head_size - d);
                if (i + 1 == stored) x = even_only(x);
                store_words(copy.data() + (i - first_token) * depth + 2 * d, x);
            }
        return copy.data();
    }
};

// With few queries keys and values come from memory, and the values of a step, unlike its keys, not right after those
// of the step before.
void prefetch_values(Work const& w, Step const& step) {
    constexpr std::int64_t line = 64 / sizeof(BFloat16);
    if (w.t.queries > 4) return;
    BFloat16 const* const values = w.memory(step) + w.t.values_offset;
    std::int64_t const elements = w.visible(step.page) * w.t.head_size;
    for (std::int64_t i = 0; i < elements; i += line) __builtin_prefetch(values + i);
}

void page_scores(Work& w, Step const& step) {
    pair_product({.c = w.scores[step.buffer],
                  .c_stride = page_tokens,
                  .a = w.queries.data() + step.head * w.t.queries * w.depth,
                  .a_stride = w.depth,
                  .b = w.keys(w.memory(step)),
                  .b_stride = 2 * lanes,
                  .b_columns = lanes * w.depth,
                  .depth = w.depth,
                  .add = false},
                 w.t.queries, rounded_up(w.visible(step.page), lanes));
}

// Scores with what not every model has: capped; keys before a query's window at minus infinity.
__attribute__((noinline)) void cap_and_cut(Work& w, Step const& step) {
    AttentionTile<BFloat16> const& t = w.t;
    for (std::int64_t i = 0; i < t.queries; ++i) {
        std::int64_t const begin = t.position[i] + 1 - t.window - step.page * page_tokens;
        float* const scores = w.scores[step.buffer] + i * page_tokens;
        for (std::int64_t key = 0; key < rounded_up(w.visible(step.page), lanes); key += lanes) {
            F16 score = load(scores + key);
            if (t.softcap != 0.0F) score = softcap(score * set(t.scale), t.softcap);
            store(scores + key, first(begin - key, set(-__builtin_inff()), score));
        }
    }
}

// Scores to weights, and the state's maximum and sum, over the first 16 Vectors keys of a page; weights are zero from
// there to the end of the chunk.
template <int Vectors, bool Masked>
void page_weights(Work& w, State& state, Step const& step) {
    AttentionTile<BFloat16> const& t = w.t;
    float* const scores = w.scores[step.buffer];
    float* const state_max = state.max + step.head * t.queries;
    float* const state_sum = state.sum + step.head * t.queries;
    F16 rows[lanes];
    for (std::int64_t i = 0; i < t.queries; ++i) {
        float* const score = scores + i * page_tokens;
        rows[i] = set(-__builtin_inff());
        for (int v = 0; v < Vectors; ++v) {
            F16 x = load(score + v * lanes);
            if constexpr (Masked) {
                x = first(t.position[i] + 1 - step.page * page_tokens - v * lanes, x, set(-__builtin_inff()));
                store(score + v * lanes, x);
            }
            rows[i] = max(rows[i], x);
        }
    }
    F16 const old_max = load(state_max);
    F16 const new_max = max(old_max, reduce_max_each(rows, t.queries) * set(w.scale));
    F16 const shrink = exp2_coarse(old_max - new_max);
    store(state_max, new_max, t.queries);
    store(w.shrink[step.buffer], shrink);
    for (std::int64_t i = 0; i < t.queries; ++i) {
        float const* const score = scores + i * page_tokens;
        BFloat16* const weight = w.weights.data() + i * page_tokens;
        F16 const offset = set(-state_max[i]);
        F16 p[4];
        rows[i] = set(0.0F);
        for (int v = 0; v < Vectors; ++v) {
            p[v] = exp2_coarse(fma(load(score + v * lanes), set(w.scale), offset));
            rows[i] = rows[i] + p[v];
        }
        if constexpr (Vectors % 2 != 0) p[Vectors] = set(0.0F);
        store(weight, p[0], p[1]);
        if constexpr (Vectors > 2) store(weight + chunk, p[2], p[3]);
    }
    store(state_sum, fma(load(state_sum), shrink, reduce_add_each(rows, t.queries)), t.queries);
}

void page_weights(Work& w, State& state, Step const& step) {
    std::int64_t const visible = w.visible(step.page);
    if (w.t.softcap != 0.0F || w.t.position[w.t.queries - 1] + 1 - w.t.window > step.page * page_tokens)
        cap_and_cut(w, step);
    if (w.t.position[0] >= (step.page + 1) * page_tokens - 1)
        page_weights<4, false>(w, state, step);
    else if (visible <= lanes)
        page_weights<1, true>(w, state, step);
    else if (visible <= 2 * lanes)
        page_weights<2, true>(w, state, step);
    else if (visible <= 3 * lanes)
        page_weights<3, true>(w, state, step);
    else
        page_weights<4, true>(w, state, step);
}

// The product of a page's weights and values, from zero.
void page_product(Work& w, Step const& step) {
    AttentionTile<BFloat16> const& t = w.t;
    BFloat16 const* const values = w.memory(step) + t.values_offset;
    std::int64_t const width = rounded_up(w.visible(step.page), chunk);
    std::int64_t const stored = t.stored - step.page * page_tokens;
    std::int64_t const whole = t.head_size < w.depth ? 0 : smaller(width, stored / chunk * chunk);
    PairProduct x{.c = w.product,
                  .c_stride = w.depth,
                  .a = w.weights.data(),
                  .a_stride = page_tokens,
                  .b = values,
                  .b_stride = 2 * w.depth,
                  .depth = whole,
                  .add = false};
    if (whole > 0) pair_product(x, t.queries, w.depth);
    if (whole == width) return;
    x.a += whole;
    x.b = w.copied_values(values, whole, width, stored);
    x.depth = width - whole;
    x.add = whole > 0;
    pair_product(x, t.queries, w.depth);
}

// The split's values take in the product of a page.
void add_product(Work const& w, State& state, Step const& step) {
    float* const value = state.value + step.head * w.t.queries * w.depth;
    std::int64_t const elements = w.t.queries * w.depth;
    if (step.is_first) {
        for (std::int64_t d = 0; d < elements; d += lanes) store(value + d, load(w.product + d));
        return;
    }
    for (std::int64_t i = 0; i < w.t.queries; ++i) {
        F16 const shrink = set(w.shrink[step.buffer][i]);
        for (std::int64_t d = i * w.depth; d < (i + 1) * w.depth; d += lanes)
            store(value + d, fma(load(value + d), shrink, load(w.product + d)));
    }
}

// The maximum is finite, so that it has a difference to itself: a query may see nothing of a page.
void reset(State& state) {
    for (std::int64_t i = 0; i < 2 * max_queries; i += lanes) {
        store(state.max + i, set(-3e38F));
        store(state.sum + i, set(0.0F));
    }
}

// total = total and split together.
void merge(State& total, State const& split, std::int64_t queries, std::int64_t depth) {
    F16 const new_max = max(load(total.max), load(split.max));
    alignas(64) float shrink[2][lanes];
    store(shrink[0], exp2_coarse(load(total.max) - new_max));
    store(shrink[1], exp2_coarse(load(split.max) - new_max));
    store(total.sum, fma(load(total.sum), load(shrink[0]), load(split.sum) * load(shrink[1])));
    store(total.max, new_max);
    for (std::int64_t i = 0; i < queries; ++i)
        for (std::int64_t d = i * depth; d < (i + 1) * depth; d += lanes)
            store(total.value + d,
                  fma(load(total.value + d), set(shrink[0][i]), load(split.value + d) * set(shrink[1][i])));
}

void write(Work const& w, State const& total) {
    AttentionTile<BFloat16> const& t = w.t;
    for (std::int64_t i = 0; i < t.heads * t.queries; ++i) {
        F16 const sum = set(total.sum[i]);
        // + 0: the sign of a zero depends on the zeros that were added.
        for (std::int64_t d = 0; d < t.head_size; d += lanes)
            store(t.out[i] + d, load(total.value + i * w.depth + d) / sum + set(0.0F), t.head_size - d);
        if (t.log_sum_exp[i] != nullptr)
            *t.log_sum_exp[i] = __builtin_fmaf(total.max[i], 0.693147180559945309F, log_scalar(total.sum[i]));
    }
}

// The pages of split `index` into its state. A step's products are under way while the weights of the one before are
// computed.
void one_split(Work& w, std::int64_t index, std::int64_t pages, State& split) {
    std::int64_t const end = smaller(pages, (index + 1) * pages_per_split);
    std::int64_t const begin = larger(index * pages_per_split, w.first_page());
    std::int64_t const steps = (end - begin) * w.t.heads;
    reset(split);
    Step next{.page = begin, .head = 0, .buffer = 0, .is_first = true};
    Step before = next;
    page_scores(w, next);
    for (std::int64_t i = 0; i < steps; ++i) {
        Step const step = next;
        next.buffer = 1 - next.buffer;
        if (++next.head == w.t.heads) {
            next.head = 0;
            next.is_first = false;
            ++next.page;
        }
        if (i + 1 < steps) {
            prefetch_values(w, next);
            page_scores(w, next);
        }
        page_weights(w, split, step);
        if (i > 0) add_product(w, split, before);
        page_product(w, step);
        before = step;
    }
    add_product(w, split, before);
}

std::int64_t pages_of(AttentionTile<BFloat16> const& t) { return t.position[t.queries - 1] / page_tokens + 1; }

void attention_tile(AttentionTile<BFloat16> const& t) {
    TileRegisters const registers(t.queries);
    Work w(t);
    State total;
    std::int64_t const pages = pages_of(t);
    std::int64_t const first = w.first_page() / pages_per_split;
    one_split(w, first, pages, total);
    for (std::int64_t index = first + 1; index * pages_per_split < pages; ++index) {
        State split;
        one_split(w, index, pages, split);
        merge(total, split, t.heads * t.queries, w.depth);
    }
    write(w, total);
}

void attention_split(AttentionTile<BFloat16> const& t, std::int64_t index, float* state) {
    static_assert(sizeof(State) == sizeof(float) * attention_state_floats);
    TileRegisters const registers(t.queries);
    Work w(t);
    one_split(w, index, pages_of(t), *reinterpret_cast<State*>(state));
}

void attention_merge(AttentionTile<BFloat16> const& t, float const* states) {
    Work const w(t);
    State total = *reinterpret_cast<State const*>(states);
    std::int64_t const first = w.first_page() / pages_per_split;
    for (std::int64_t index = first + 1; index * pages_per_split < pages_of(t); ++index)
        merge(total, *reinterpret_cast<State const*>(states + (index - first) * attention_state_floats),
              t.heads * t.queries, w.depth);
    write(w, total);
}

}  // namespace

void fill_attention_bf16(KernelTable& table) {
    table.attention_bf16 = {.tile = attention_tile, .split = attention_split, .merge = attention_merge};
}

}  // namespace selvage::kernels::SELVAGE_ISA

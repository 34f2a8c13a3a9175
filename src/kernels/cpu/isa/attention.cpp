// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/tile.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t page_tokens = 64;
constexpr std::int64_t pages_per_split = 8;
constexpr std::int64_t max_head = 256;
constexpr std::int64_t width = lanes * tile_vectors;

// Running softmax of one split.
template <int Rows>
struct State {
    float max[Rows];
    float sum[Rows];
    alignas(64) float value[Rows][max_head];
};

// Capped scores or a window: the functions below are compiled for these (Special) and without.
bool is_special(AttentionTile<float> const& t) { return t.softcap != 0.0F || t.window != all_keys; }

// The keys of a page that each row sees.
template <int Rows>
struct Seen {
    std::int64_t begin[Rows], end[Rows];
    Seen(AttentionTile<float> const& t, std::int64_t page) {
        std::int64_t const first = page * page_tokens;
        for (int i = 0; i < Rows; ++i) {
            begin[i] = within_page(t.position[i] + 1 - t.window - first);
            end[i] = within_page(t.position[i] + 1 - first);
        }
    }

  private:
    static std::int64_t within_page(std::int64_t key) { return key < 0 ? 0 : (key < page_tokens ? key : page_tokens); }
};

// The first page that a row of the tile sees.
std::int64_t first_page(AttentionTile<float> const& t) {
    std::int64_t const first = t.position[0] + 1 - t.window;
    return first < 0 ? 0 : first / page_tokens;
}

// Scores are capped, keys before a row's window at minus infinity.
template <int Rows>
void cap_and_cut(float cap, Seen<Rows> const& seen, float (&scores)[Rows][page_tokens]) {
    F16 const never = set(-__builtin_inff());
    for (int i = 0; i < Rows; ++i)
        for (std::int64_t key = 0; key < page_tokens; key += lanes) {
            F16 score = load(scores[i] + key);
            if (cap != 0.0F) score = softcap(score, cap);
            store(scores[i] + key, first(seen.begin[i] - key, never, first(seen.end[i] - key, score, never)));
        }
}

// Scores of one page, keys that a row does not see at minus infinity; then weights exp(score - max) in place, and the
// state's maximum, sum and values rescaled to it.
template <int Rows, bool Special>
void page_weights(AttentionTile<float> const& t, std::int64_t page, float const* queries,
                  float (&weight)[Rows][page_tokens], State<Rows>& state) {
    float const* const keys = t.pages + t.page_table[page] * t.page_size;
    for (std::int64_t first_key = 0; first_key < page_tokens; first_key += width) {
        F16 acc[Rows][tile_vectors];
        clear(acc);
        chain(acc, queries, max_head, 1, keys + first_key, page_tokens, t.head_size);
        for (int i = 0; i < Rows; ++i)
            for (int v = 0; v < tile_vectors; ++v) {
                std::int64_t const key = first_key + v * lanes;
                F16 const score = acc[i][v] * set(t.scale);
                store(weight[i] + key,
                      first(t.position[i] + 1 - page * page_tokens - key, score, set(-__builtin_inff())));
            }
    }
    [[maybe_unused]] Seen<Special ? Rows : 1> const seen(t, page);
    if constexpr (Special) cap_and_cut<Rows>(t.softcap, seen, weight);
    for (int i = 0; i < Rows; ++i) {
        if (t.position[i] < page * page_tokens) continue;
        if (Special && seen.begin[i] == seen.end[i]) continue;
        F16 largest = load(weight[i]);
        for (std::int64_t key = lanes; key < page_tokens; key += lanes) largest = max(largest, load(weight[i] + key));
        float const new_max = larger(state.max[i], reduce_max(largest));
        F16 sum = set(0.0F);
        for (std::int64_t key = 0; key < page_tokens; key += lanes) {
            F16 const p = exp(load(weight[i] + key) - set(new_max));
            store(weight[i] + key, p);
            sum = sum + p;
        }
        F16 const shrink = exp(set(state.max[i] - new_max));
        float shrink_lanes[lanes];
        store(shrink_lanes, shrink);
        state.sum[i] = __builtin_fmaf(state.sum[i], shrink_lanes[0], reduce_add(sum));
        state.max[i] = new_max;
        for (std::int64_t d = 0; d < t.head_size; d += lanes)
            store(state.value[i] + d, load(state.value[i] + d) * shrink);
    }
}

// value += weight V over the first `keys` keys of a page, from key `from`.
template <int Rows>
SELVAGE_INLINE void add_values(float (*value)[max_head], float const (*weight)[page_tokens], float const* values,
                               std::int64_t head_size, std::int64_t from, std::int64_t keys) {
    if (from >= keys) return;
    std::int64_t d = 0;
    for (; d + width <= head_size; d += width) {
        F16 acc[Rows][tile_vectors];
        for (int i = 0; i < Rows; ++i)
            for (int v = 0; v < tile_vectors; ++v) acc[i][v] = load(value[i] + d + v * lanes);
        chain(acc, weight[0] + from, page_tokens, 1, values + from * head_size + d, head_size, keys - from);
        for (int i = 0; i < Rows; ++i)
            for (int v = 0; v < tile_vectors; ++v) store(value[i] + d + v * lanes, acc[i][v]);
    }
    for (; d < head_size; d += lanes) {
        F16 acc[Rows];
        for (int i = 0; i < Rows; ++i) acc[i] = load(value[i] + d);
        for (std::int64_t key = from; key < keys; ++key) {
            F16 const column = load(values + key * head_size + d, head_size - d);
            for (int i = 0; i < Rows; ++i) acc[i] = fma(set(weight[i][key]), column, acc[i]);
        }
        for (int i = 0; i < Rows; ++i) store(value[i] + d, acc[i]);
    }
}

template <int Rows, bool Special>
void one_page(AttentionTile<float> const& t, std::int64_t page, float const* queries, State<Rows>& state) {
    alignas(64) float weight[Rows][page_tokens];
    page_weights<Rows, Special>(t, page, queries, weight, state);
    // A row's chain runs over its own keys only; the rows go together as far as all of them go.
    float const* const values = t.pages + t.page_table[page] * t.page_size + t.values_offset;
    Seen<Rows> const seen(t, page);
    std::int64_t begin = 0;
    std::int64_t end = page_tokens;
    for (int i = 0; i < Rows; ++i) {
        if constexpr (Special) begin = seen.begin[i] > begin ? seen.begin[i] : begin;
        end = seen.end[i] < end ? seen.end[i] : end;
    }
    if (Special && begin > end) end = begin;  // none goes with all of them
    auto const alone = [&](int i, std::int64_t from, std::int64_t to) {
        add_values<1>(state.value + i, weight + i, values, t.head_size, from, to);
    };
    if constexpr (Special)
        for (int i = 0; i < Rows; ++i) alone(i, seen.begin[i], seen.end[i] < begin ? seen.end[i] : begin);
    add_values<Rows>(state.value, weight, values, t.head_size, begin, end);
    for (int i = 0; i < Rows; ++i) alone(i, Special && seen.begin[i] > end ? seen.begin[i] : end, seen.end[i]);
}

// total = total and split together.
template <int Rows>
void merge(State<Rows>& total, State<Rows> const& split, std::int64_t head_size) {
    for (int i = 0; i < Rows; ++i) {
        if (split.sum[i] == 0.0F) continue;  // a row that sees nothing of this split
        float const new_max = larger(total.max[i], split.max[i]);
        float const shrink_total = exp_scalar(total.max[i] - new_max);
        float const shrink_split = exp_scalar(split.max[i] - new_max);
        total.sum[i] = __builtin_fmaf(total.sum[i], shrink_total, split.sum[i] * shrink_split);
        total.max[i] = new_max;
        for (std::int64_t d = 0; d < head_size; d += lanes)
            store(total.value[i] + d,
                  fma(load(total.value[i] + d), set(shrink_total), load(split.value[i] + d) * set(shrink_split)));
    }
}

template <int Rows>
void reset(State<Rows>& state, std::int64_t head_size) {
    for (int i = 0; i < Rows; ++i) {
        state.max[i] = -__builtin_inff();
        state.sum[i] = 0;
        for (std::int64_t d = 0; d < head_size; d += lanes) store(state.value[i] + d, set(0.0F));
    }
}

template <int Rows>
struct Queries {
    alignas(64) float value[Rows][max_head];
    std::int64_t pages = 0;  // that the last position needs

    explicit Queries(AttentionTile<float> const& t) {
        std::int64_t last_position = 0;
        for (int i = 0; i < Rows; ++i) {
            for (std::int64_t d = 0; d < t.head_size; ++d) value[i][d] = t.query[i][d];
            last_position = t.position[i] > last_position ? t.position[i] : last_position;
        }
        pages = last_position / page_tokens + 1;
    }
};

template <int Rows, bool Special>
void one_split(AttentionTile<float> const& t, Queries<Rows> const& queries, std::int64_t index, State<Rows>& state) {
    reset(state, t.head_size);
    std::int64_t const end = (index + 1) * pages_per_split;
    std::int64_t const seen = first_page(t);
    std::int64_t page = index * pages_per_split;
    for (page = page < seen ? seen : page; page < queries.pages && page < end; ++page)
        one_page<Rows, Special>(t, page, queries.value[0], state);
}

template <int Rows>
void write(AttentionTile<float> const& t, State<Rows> const& total) {
    for (int i = 0; i < Rows; ++i) {
        F16 const sum = set(total.sum[i]);
        for (std::int64_t d = 0; d < t.head_size; d += lanes)
            store(t.out[i] + d, load(total.value[i] + d) / sum, t.head_size - d);
        if (t.log_sum_exp[i] != nullptr) *t.log_sum_exp[i] = total.max[i] + log_scalar(total.sum[i]);
    }
}

template <int Rows, bool Special>
void whole_tile(AttentionTile<float> const& t) {
    Queries<Rows> const queries(t);
    State<Rows> total;
    State<Rows> split;
    reset(total, t.head_size);
    for (std::int64_t index = first_page(t) / pages_per_split; index * pages_per_split < queries.pages; ++index) {
        one_split<Rows, Special>(t, queries, index, split);
        merge(total, split, t.head_size);
    }
    write(t, total);
}

void attention_tile(AttentionTile<float> const& t) {
    with_rows(t.queries, [&]<int Rows>() { is_special(t) ? whole_tile<Rows, true>(t) : whole_tile<Rows, false>(t); });
}

void attention_split(AttentionTile<float> const& t, std::int64_t index, float* state) {
    with_rows(t.queries, [&]<int Rows>() {
        static_assert(sizeof(State<Rows>) <= sizeof(float) * attention_state_floats);
        State<Rows>& split = *reinterpret_cast<State<Rows>*>(state);
        Queries<Rows> const queries(t);
        is_special(t) ? one_split<Rows, true>(t, queries, index, split)
                      : one_split<Rows, false>(t, queries, index, split);
    });
}

void attention_merge(AttentionTile<float> const& t, float const* states) {
    with_rows(t.queries, [&]<int Rows>() {
        State<Rows> total;
        reset(total, t.head_size);
        std::int64_t const begin = first_page(t) / pages_per_split;
        std::int64_t const end = (Queries<Rows>(t).pages + pages_per_split - 1) / pages_per_split;
        for (std::int64_t i = 0; i < end - begin; ++i)
            merge(total, *reinterpret_cast<State<Rows> const*>(states + i * attention_state_floats), t.head_size);
        write(t, total);
    });
}

}  // namespace

void fill_attention(KernelTable& table) {
    table.attention = {.tile = attention_tile, .split = attention_split, .merge = attention_merge};
}

}  // namespace selvage::kernels::SELVAGE_ISA

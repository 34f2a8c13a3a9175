// SPDX-License-Identifier: Apache-2.0
// Attention in bf16 by matrix instructions, prefill and decode alike.
#include <algorithm>

#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/attention_softmax.h"
#include "kernels/cuda/softcap.h"

namespace selvage::kernels::cuda {
namespace {

// Wide: four warps have 16 pairs each. Narrow: the warps share 16 pairs; each has a part of the scores' columns, which
// all then read, and a part of the values' columns.
template <int head_, bool narrow_>
struct Shape {
    static constexpr int head = head_;
    static constexpr bool narrow = narrow_;
    static constexpr int row_warps = narrow ? 1 : wide_pairs / warp_rows;
    static constexpr int column_warps = !narrow ? 1 : (head % 64 == 0 ? 4 : (head % 32 == 0 ? 2 : 1));
    static constexpr int pairs = row_warps * warp_rows;
    static constexpr int threads = row_warps * column_warps * 32;
    static constexpr int stages = narrow && head <= 128 ? 2 : 1;  // pages in shared memory
    static constexpr int score_tiles = page_tokens / 8 / column_warps;
    static constexpr int value_tiles = head / 8 / column_warps;
    static constexpr bool queries_held = head <= 128;  // in registers
    // Shared memory, in bytes: keys, values, scores, queries, totals. The totals of splits may lie where queries were.
    static constexpr int page_elements = page_tokens * row_stride<head>;
    static constexpr int score_stride = page_tokens + 8;
    static constexpr int pages_bytes = stages * page_elements * 2;
    static constexpr int scores_bytes = column_warps > 1 ? pairs* score_stride * 4 : 0;
    static constexpr int queries_bytes = pairs * row_stride<head> * 2;
    static constexpr int scores_at = 2 * pages_bytes;
    static constexpr int queries_at = scores_at + scores_bytes;
    static constexpr int totals_at = queries_held ? queries_at : queries_at + queries_bytes;
    static constexpr int bytes(bool totals) {
        return std::max(queries_at + queries_bytes, totals ? totals_at + pairs * head * 4 : 0);
    }
};

template <class S>
struct State {
    SoftmaxState rows[2];
    float value[S::value_tiles][4];

    // Where a row may see nothing of a page the first maximum is finite, so that it has a difference to itself.
    __device__ explicit State(bool may_see_nothing) {
        clear(value);
        if (may_see_nothing) rows[0].max = rows[1].max = -3e38F;
    }
};

// Scores of a page become weights; the state is brought to them. Columns from visible[row] on are masked.
template <class S>
__device__ void weigh(float (&score)[page_tokens / 8][4], State<S>& state, float scale, bool masked,
                      int const (&visible)[2]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
        float largest = minus_infinity();
#pragma unroll
        for (int tile = 0; tile < page_tokens / 8; ++tile)
            for (int i = 0; i < 2; ++i) {
                float& x = score[tile][2 * row + i];
                if (masked && tile * 8 + own_column() + i >= visible[row]) x = minus_infinity();
                largest = Largest{}(largest, x);
            }
        SoftmaxState& own = state.rows[row];
        float const shrink = own.raise(over_row(largest, Largest{}) * scale);
        float sum = 0;
#pragma unroll
        for (int tile = 0; tile < page_tokens / 8; ++tile)
            for (int i = 0; i < 2; ++i) {
                float& x = score[tile][2 * row + i];
                x = exp2f(fmaf(x, scale, -own.max));
                sum += x;
            }
        own.sum = fmaf(own.sum, shrink, over_row(sum, Sum{}));
#pragma unroll
        for (int tile = 0; tile < S::value_tiles; ++tile)
            for (int i = 0; i < 2; ++i) state.value[tile][2 * row + i] *= shrink;
    }
}

// Scores with what not every model has: capped; keys before first[row] masked.
__device__ inline void cap_and_cut(float (&score)[page_tokens / 8][4], ScoreOptions const& options,
                                   int const (&first)[2]) {
#pragma unroll
    for (int tile = 0; tile < page_tokens / 8; ++tile)
        for (int i = 0; i < 4; ++i) {
            float& x = score[tile][i];
            if (options.softcap != 0) x = softcap(x * options.scale, options.softcap);
            if (tile * 8 + own_column() + i % 2 < first[i / 2]) x = minus_infinity();
        }
}

// The splits so far of a wide tile: values in shared memory, each thread's own.
template <class S>
struct Totals {
    SoftmaxState rows[2];
    float4* values;
    bool any = false;

    // total, state = both merged.
    __device__ void merge(State<S>& state) {
        Shrinks const low = rows[0].merge(state.rows[0]);
        Shrinks const high = rows[1].merge(state.rows[1]);
#pragma unroll
        for (int tile = 0; tile < S::value_tiles; ++tile) {
            float(&own)[4] = state.value[tile];
            float4& kept = values[tile * S::threads + static_cast<int>(threadIdx.x)];
            if (any) {
                own[0] = merged(kept.x, own[0], low);
                own[1] = merged(kept.y, own[1], low);
                own[2] = merged(kept.z, own[2], high);
                own[3] = merged(kept.w, own[3], high);
            }
            kept = make_float4(own[0], own[1], own[2], own[3]);
        }
        state.rows[0] = rows[0];
        state.rows[1] = rows[1];
        any = true;
    }
};

__device__ inline float* state_of(ForwardWork<BFloat16> const& work, int pairs_before, int kv_head, int pairs,
                                  int head) {
    return work.states + state_floats(std::int64_t{pairs_before} * work.kv_heads + kv_head * pairs, head);
}

// What a block has: a tile and a key-value head.
template <class S>
struct Block {
    ForwardWork<BFloat16> const& work;
    ForwardTile const tile;
    unsigned char* const memory;
    int const kv_head = static_cast<int>(blockIdx.y);
    int const column_warp = static_cast<int>(threadIdx.x / 32) % S::column_warps;
    int const first_pair = static_cast<int>(threadIdx.x / 32) / S::column_warps * warp_rows;  // of the warp

    __device__ BFloat16* keys(int page) const {
        return reinterpret_cast<BFloat16*>(memory) + page % S::stages * S::page_elements;
    }
    __device__ BFloat16* values(int page) const { return keys(page) + S::stages * S::page_elements; }
    __device__ BFloat16* queries() const { return reinterpret_cast<BFloat16*>(memory + S::queries_at); }
    __device__ BFloat16 const* own_queries() const { return queries() + first_pair * row_stride<S::head>; }

    __device__ void start_queries() const {
        copy_rows<S::head>(queries(), S::pairs, work.head_size, work.queries, [&](int pair) {
            return pair < tile.pairs ? work.queries + place_of(work, tile, kv_head, pair) * work.head_size : nullptr;
        });
    }
    // A group of copies for the keys or values of a page, empty past the last page.
    __device__ void start(int page, bool of_values) const {
        if (page < tile.end_page) {
            BFloat16 const* const from = keys_of(work, tile, page, kv_head) + (of_values ? values_offset(work) : 0);
            int const stored = tile.stored - page * page_tokens;
            copy_rows<S::head>(of_values ? values(page) : keys(page), page_tokens, work.head_size, from,
                               [&](int slot) { return slot < stored ? from + slot * work.head_size : nullptr; });
        }
        cp_async_commit();
    }

    // The warp's part of the scores of a page.
    template <int held_count>
    __device__ void score_part(float (&part)[S::score_tiles][4], std::uint32_t const (&held)[held_count][4],
                               int page) const {
        BFloat16 const* const from = keys(page) + column_warp * S::score_tiles * 8 * row_stride<S::head>;
        if constexpr (S::queries_held) {
            clear(part);
#pragma unroll
            for (int i = 0; i < held_count; ++i) multiply_rows<S::head>(part, held[i], from, 16 * i);
        } else {
            score<S::head>(part, own_queries(), from);
        }
    }
    // Between the warps of a narrow tile.
    __device__ float2* shared_score(int row, int column_tile) const {
        auto* const scores = reinterpret_cast<float*>(memory + S::scores_at);
        return reinterpret_cast<float2*>(scores + (own_row() + 8 * row) * S::score_stride + own_column() +
                                         8 * column_tile);
    }
    __device__ void give_part(float const (&part)[S::score_tiles][4]) const {
#pragma unroll
        for (int i = 0; i < S::score_tiles; ++i)
            for (int row = 0; row < 2; ++row)
                *shared_score(row, column_warp * S::score_tiles + i) =
                    make_float2(part[i][2 * row], part[i][2 * row + 1]);
    }
    __device__ void take_all(float (&scores)[page_tokens / 8][4]) const {
#pragma unroll
        for (int i = 0; i < page_tokens / 8; ++i)
            for (int row = 0; row < 2; ++row) {
                float2 const two = *shared_score(row, i);
                scores[i][2 * row] = two.x;
                scores[i][2 * row + 1] = two.y;
            }
    }

    __device__ int first_column() const { return column_warp * S::value_tiles * 8 + own_column(); }
    __device__ void write_out(int pair, int row, State<S> const& state) const {
        std::int64_t const place = place_of(work, tile, kv_head, pair);
        float const inverse = 1.0F / state.rows[row].sum;
#pragma unroll
        for (int i = 0; i < S::value_tiles; ++i) {
            int const column = first_column() + 8 * i;
            if (column < work.head_size)
                *reinterpret_cast<unsigned*>(work.out + place * work.head_size + column) =
                    round_pair(state.value[i][2 * row] * inverse, state.value[i][2 * row + 1] * inverse);
        }
        if (first_column() == 0 && work.log_sum_exp != nullptr) work.log_sum_exp[place] = state.rows[row].log_sum_exp();
    }
    __device__ void write_state(int pair, int row, State<S> const& state) const {
        float* const to = state_of(work, tile.state, kv_head, S::pairs, S::head);
#pragma unroll
        for (int i = 0; i < S::value_tiles; ++i)
            *reinterpret_cast<float2*>(to + pair * S::head + first_column() + 8 * i) =
                make_float2(state.value[i][2 * row], state.value[i][2 * row + 1]);
        if (first_column() != 0) return;
        to[S::pairs * S::head + pair] = state.rows[row].max;
        to[S::pairs * (S::head + 1) + pair] = state.rows[row].sum;
    }
};

// While a page's scores are computed its values are under way, while its values are added the next page's keys. With
// two stages it is one page more of both.
template <int head, bool narrow, bool special>
__global__ void __launch_bounds__(Shape<head, narrow>::threads, head <= 128 ? 2 : 1)
    forward_kernel(ForwardWork<BFloat16> work) {
    using S = Shape<head, narrow>;
    SELVAGE_DYNAMIC_SHARED(unsigned char, memory);
    Block<S> const block{work, work.tiles[blockIdx.x], memory};
    ForwardTile const& tile = block.tile;
    if (tile.pairs == 0) return;
    constexpr int groups_ahead = 2 * (S::stages - 1);
    // Pages before all windows are left out, which may be all that the tile has.
    int first_page = tile.first_page;
    if constexpr (special)
        first_page = max(first_page, work.scores.first_key(position_of(work, tile, 0)) / page_tokens);
    block.start_queries();
    block.start(first_page, false);
    if (S::stages > 1) {
        block.start(first_page, true);
        block.start(first_page + 1, false);
    }
    std::uint32_t held[S::queries_held ? head / 16 : 1][4];
    if constexpr (S::queries_held) {
        cp_async_wait<groups_ahead>();
        __syncthreads();
#pragma unroll
        for (int i = 0; i < head / 16; ++i) load_left<head>(held[i], block.own_queries(), 16 * i);
    }
    int const pair[2] = {block.first_pair + own_row(), block.first_pair + own_row() + 8};
    int const end[2] = {position_of(work, tile, min(pair[0], tile.pairs - 1)) + 1,
                        position_of(work, tile, min(pair[1], tile.pairs - 1)) + 1};
    State<S> state(special);
    [[maybe_unused]] Totals<S> totals{{}, reinterpret_cast<float4*>(memory + S::totals_at)};
    for (int page = first_page; page < tile.end_page; ++page) {
        cp_async_wait<groups_ahead>();
        __syncthreads();  // the page's keys are there; the values of the one before are done with
        block.start(page + S::stages - 1, true);
        float scores[page_tokens / 8][4];
        if constexpr (S::column_warps == 1) {
            block.score_part(scores, held, page);
        } else {
            float part[S::score_tiles][4];
            block.score_part(part, held, page);
            block.give_part(part);
        }
        cp_async_wait<groups_ahead>();
        __syncthreads();  // the page's values are there, and all scores; its keys are done with
        block.start(page + S::stages, false);
        if constexpr (S::column_warps > 1) block.take_all(scores);
        int const begin = page * page_tokens;
        if constexpr (special)
            cap_and_cut(scores, work.scores,
                        {work.scores.first_key(end[0] - 1) - begin, work.scores.first_key(end[1] - 1) - begin});
        weigh<S>(scores, state, work.scale, end[0] <= begin + page_tokens, {end[0] - begin, end[1] - begin});
        add_weighted<head>(state.value, scores, block.values(page) + block.column_warp * S::value_tiles * 8);
        if constexpr (!narrow)
            if ((page + 1) % split_pages == 0 && page + 1 < tile.end_page) {
                totals.merge(state);
                state = State<S>(special);
            }
    }
    if constexpr (!narrow)
        if (totals.any) totals.merge(state);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
        if (pair[row] >= tile.pairs) continue;
        if (tile.state < 0)
            block.write_out(pair[row], row, state);
        else
            block.write_state(pair[row], row, state);
    }
}

// The states of a tile's splits, in order. A block has a tile and a key-value head.
__global__ void merge_kernel(ForwardWork<BFloat16> work, int pairs, int head) {
    ForwardTile const tile = work.tiles[blockIdx.x];
    int const kv_head = static_cast<int>(blockIdx.y);
    int const vectors = work.head_size / 4;
    for (int i = static_cast<int>(threadIdx.x); i < tile.pairs * vectors; i += static_cast<int>(blockDim.x)) {
        int const pair = i / vectors;
        int const column = i % vectors * 4;
        SoftmaxState total;
        Vector<4> values{};
        for (int page = tile.first_page; page < tile.end_page; page += split_pages) {
            float const* const state = state_of(work, tile.state + page / split_pages * pairs, kv_head, pairs, head);
            SoftmaxState split;
            split.max = state[pairs * head + pair];
            split.sum = state[pairs * (head + 1) + pair];
            Shrinks const shrinks = total.merge(split);
            Vector<4> const own = load<4>(state + pair * head + column);
            for (int j = 0; j < 4; ++j) values[j] = page == 0 ? own[j] : merged(values[j], own[j], shrinks);
        }
        std::int64_t const place = place_of(work, tile, kv_head, pair);
        float const inverse = 1.0F / total.sum;
        for (int j = 0; j < 4; ++j) values[j] *= inverse;
        store(work.out + place * work.head_size + column, values);
        if (column == 0 && work.log_sum_exp != nullptr) work.log_sum_exp[place] = total.log_sum_exp();
    }
}

template <int head, bool narrow, bool special>
void launch_tiles(ForwardWork<BFloat16> const& work, unsigned count, bool totals, Stream& stream) {
    using S = Shape<head, narrow>;
    launch(forward_kernel<head, narrow, special>, {count, static_cast<unsigned>(work.kv_heads)}, S::threads,
           S::bytes(totals), stream, work);
}

}  // namespace

void launch_forward(ForwardWork<BFloat16> const& work, ForwardCounts const& counts, Stream& stream) {
    ForwardWork<BFloat16> next = work;
    auto const launch_all = [&]<int head, bool special>() {
        launch_tiles<head, true, special>(next, counts.narrow, false, stream);
        next.tiles += counts.narrow;
        launch_tiles<head, false, special>(next, counts.wide, counts.wide_splits, stream);
        next.tiles += counts.wide;
    };
    with_padded_head(work.head_size, [&]<int head>() {
        if (work.scores.special()) return launch_all.template operator()<head, true>();
        launch_all.template operator()<head, false>();
    });
    auto const merge = [&](unsigned count, int pairs) {
        launch(merge_kernel, {count, static_cast<unsigned>(work.kv_heads)}, 256, 0, stream, next, pairs,
               padded_head(work.head_size));
        next.tiles += count;
    };
    merge(counts.merge_narrow, narrow_pairs);
    merge(counts.merge_wide, wide_pairs);
}

}  // namespace selvage::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
// Attention in fp32, plainly: a block of 64 threads has one row of one head, or one key of one key-value head. The
// order of sums is that of the contract; a score is a chain over the head's dims, values are chains over the keys.
#include "kernels/cuda/attention_softmax.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/softcap.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int threads = page_tokens;
constexpr int most_dims = 256 / threads;  // of a thread

__device__ inline float product(float const* a, float const* b, int count) {
    float sum = 0;
    for (int i = 0; i < count; ++i) sum = fmaf(a[i], b[i], sum);
    return sum;
}

// values[i] += the weighted sum over `rows` rows, `stride` apart, of the thread's columns.
__device__ inline void add_rows(float (&values)[most_dims], float const* weights, float const* rows, int count,
                                std::int64_t stride, int head_size) {
#pragma unroll
    for (int i = 0; i < most_dims; ++i) {
        int const column = static_cast<int>(threadIdx.x) + i * threads;
        if (column >= head_size) break;
        for (int row = 0; row < count; ++row) values[i] = fmaf(weights[row], rows[row * stride + column], values[i]);
    }
}

__device__ inline void write_row(float* to, float const (&values)[most_dims], float factor, int head_size) {
#pragma unroll
    for (int i = 0; i < most_dims; ++i) {
        int const column = static_cast<int>(threadIdx.x) + i * threads;
        if (column < head_size) to[column] = values[i] * factor;
    }
}

// A score in units of log2(e); `slope` takes the derivative of the cap.
__device__ inline float score_of(float product, ScoreOptions const& options, float& slope) {
    slope = 1;
    if (options.softcap == 0) return product * (options.scale * log2_e);
    float const capped = softcap(product * options.scale, options.softcap);
    slope = softcap_slope(capped, options.softcap);
    return capped * log2_e;
}

// The state takes a page, of whose keys the row sees `first` to visible - 1. Each reduction has a barrier: the weights
// are written after one and read after the next.
__device__ void take_page(SoftmaxState& state, float (&values)[most_dims], float const* query, float const* keys,
                          float const* page_values, int first, int visible, ScoreOptions const& options,
                          int head_size) {
    __shared__ float weights[threads];
    __shared__ float warp_largest[32], warp_sums[32];
    int const key = static_cast<int>(threadIdx.x);
    float slope = 1;
    float score = minus_infinity();
    if (first <= key && key < visible)
        score = score_of(product(query, keys + key * head_size, head_size), options, slope);
    float const shrink = state.raise(over_block(score, minus_infinity(), warp_largest, Largest{}));
    float const weight = exp2f(score - state.max);
    weights[key] = weight;
    state.sum = fmaf(state.sum, shrink, over_block(weight, 0.0F, warp_sums, Sum{}));
    for (float& value : values) value *= shrink;
    add_rows(values, weights, page_values, min(visible, page_tokens), head_size, head_size);
}

// blockIdx is (tile, key-value head, pair).
__global__ void __launch_bounds__(threads) forward_kernel(ForwardWork<float> work) {
    ForwardTile const tile = work.tiles[blockIdx.x];
    int const kv_head = static_cast<int>(blockIdx.y);
    int const pair = static_cast<int>(blockIdx.z);
    if (pair >= tile.pairs) return;
    std::int64_t const place = place_of(work, tile, kv_head, pair);
    float const* const query = work.queries + place * work.head_size;
    int const end = position_of(work, tile, pair) + 1;
    SoftmaxState total;
    float total_values[most_dims] = {};
    int const first_key = work.scores.first_key(end - 1);
    int const first_split = first_key / page_tokens / split_pages * split_pages;
    for (int first = first_split; first < tile.end_page; first += split_pages) {
        SoftmaxState split;
        float values[most_dims] = {};
        for (int page = max(first, first_key / page_tokens); page < min(first + split_pages, tile.end_page); ++page) {
            float const* const keys = keys_of(work, tile, page, kv_head);
            take_page(split, values, query, keys, keys + values_offset(work), first_key - page * page_tokens,
                      end - page * page_tokens, work.scores, work.head_size);
        }
        Shrinks const shrinks = total.merge(split);
#pragma unroll
        for (int i = 0; i < most_dims; ++i)
            total_values[i] = first == first_split ? values[i] : merged(total_values[i], values[i], shrinks);
    }
    write_row(work.out + place * work.head_size, total_values, 1.0F / total.sum, work.head_size);
    if (threadIdx.x == 0 && work.log_sum_exp != nullptr) work.log_sum_exp[place] = total.log_sum_exp();
}

// A row's weight of a key and the gradient of its score, both in the caller's heads.
struct Pair {
    float weight, d_score;
};
__device__ inline Pair pair_of(BackwardWork<float> const& work, std::int64_t row, int head, std::int64_t key) {
    int const size = work.head_size;
    std::int64_t const place = row * work.heads + head;
    std::int64_t const at = (key * work.kv_heads + head / (work.heads / work.kv_heads)) * size;
    float slope = 1;
    float const score = score_of(product(work.queries + place * size, work.keys + at, size), work.scores, slope);
    float const weight = exp2f(fmaf(-work.log_sum_exp[place], log2_e, score));
    float const d_score = weight * (product(work.d_out + place * size, work.values + at, size) - work.delta[place]);
    return {weight, d_score * slope};
}

// blockIdx is (block of rows, head, row of the block).
__global__ void __launch_bounds__(threads) d_queries_kernel(BackwardWork<float> work) {
    __shared__ float d_scores[threads];
    BackwardBlock const block = work.blocks[blockIdx.x];
    int const head = static_cast<int>(blockIdx.y);
    int const row = block.index * page_tokens + static_cast<int>(blockIdx.z);
    if (row >= block.rows) return;
    int const thread = static_cast<int>(threadIdx.x);
    int const size = work.head_size;
    std::int64_t const stride = std::int64_t{work.kv_heads} * size;
    float sums[most_dims] = {};
    for (int first = work.scores.first_key(row); first <= row; first += page_tokens) {
        int const count = min(page_tokens, row + 1 - first);
        std::int64_t const first_key = block.first_row + first;
        __syncthreads();
        if (thread < count) d_scores[thread] = pair_of(work, block.first_row + row, head, first_key + thread).d_score;
        __syncthreads();
        int const kv_head = head / (work.heads / work.kv_heads);
        add_rows(sums, d_scores, work.keys + first_key * stride + kv_head * size, count, stride, size);
    }
    write_row(work.d_queries + ((block.first_row + row) * std::int64_t{work.heads} + head) * size, sums,
              work.scores.scale, size);
}

// blockIdx is (block of keys, key-value head, key of the block).
__global__ void __launch_bounds__(threads) d_keys_kernel(BackwardWork<float> work) {
    __shared__ float weights[threads], d_scores[threads];
    BackwardBlock const block = work.blocks[blockIdx.x];
    int const key = block.index * page_tokens + static_cast<int>(blockIdx.z);
    if (key >= block.rows) return;
    int const thread = static_cast<int>(threadIdx.x);
    int const kv_head = static_cast<int>(blockIdx.y);
    int const group = work.heads / work.kv_heads;
    int const size = work.head_size;
    std::int64_t const stride = std::int64_t{work.heads} * size;
    float d_key[most_dims] = {};
    float d_value[most_dims] = {};
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
        for (int first = block.index * page_tokens; first < block.rows; first += page_tokens) {
            int const row = first + thread;
            __syncthreads();
            Pair const pair = row >= key && row - key < work.scores.window && row < block.rows
                                  ? pair_of(work, block.first_row + row, head, block.first_row + key)
                                  : Pair{0, 0};
            weights[thread] = pair.weight;
            d_scores[thread] = pair.d_score;
            __syncthreads();
            int const count = min(page_tokens, block.rows - first);
            std::int64_t const at = (block.first_row + first) * stride + head * size;
            add_rows(d_key, d_scores, work.queries + at, count, stride, size);
            add_rows(d_value, weights, work.d_out + at, count, stride, size);
        }
    std::int64_t const at = ((block.first_row + key) * std::int64_t{work.kv_heads} + kv_head) * size;
    write_row(work.d_keys + at, d_key, work.scores.scale, size);
    write_row(work.d_values + at, d_value, 1.0F, size);
}

}  // namespace

void launch_forward(ForwardWork<float> const& work, ForwardCounts const& counts, Stream& stream) {
    dim3 const grid(counts.narrow + counts.wide, static_cast<unsigned>(work.kv_heads), wide_pairs);
    launch(forward_kernel, grid, threads, 0, stream, work);
}

void launch_backward(BackwardWork<float> const& work, unsigned blocks, Stream& stream) {
    launch(d_keys_kernel, {blocks, static_cast<unsigned>(work.kv_heads), page_tokens}, threads, 0, stream, work);
    launch(d_queries_kernel, {blocks, static_cast<unsigned>(work.heads), page_tokens}, threads, 0, stream, work);
}

}  // namespace selvage::kernels::cuda

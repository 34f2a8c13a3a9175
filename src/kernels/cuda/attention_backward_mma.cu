// SPDX-License-Identifier: Apache-2.0
// Attention's backward pass in bf16 by matrix instructions. The weights are computed again from log_sum_exp, by one
// kernel for the gradients of keys and values and by one for those of queries; each sum is one block's, in order.
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/attention_softmax.h"
#include "kernels/cuda/softcap.h"

namespace selvage::kernels::cuda {
namespace {

// A block keeps 64 rows of two tensors in shared memory, 16 for each row warp, and goes over blocks of 64 rows of two
// others, each in steps of `columns`. Column warps do the same and have a part of the head's columns each.
template <int head_>
struct Shape {
    static constexpr int head = head_;
    static constexpr int columns = head <= 64 ? 64 : 32;
    static constexpr int column_warps = head > 128 ? 2 : 1;
    static constexpr int threads = page_tokens / warp_rows * column_warps * 32;
    static constexpr int tiles = head / 8 / column_warps;
    static constexpr int stages = head <= 128 ? 2 : 1;
    static constexpr int block_elements = page_tokens * row_stride<head>;
    static constexpr int statistics_at = (2 + 2 * stages) * block_elements * 2;
    static constexpr int bytes = statistics_at + stages * 2 * page_tokens * 4;
};

template <class S>
struct Block {
    BackwardWork<BFloat16> const& work;
    BackwardBlock const at;
    unsigned char* const memory;
    int const column_warp = static_cast<int>(threadIdx.x / 32) % S::column_warps;
    int const warp_row = static_cast<int>(threadIdx.x / 32) / S::column_warps * warp_rows;
    int const group = work.heads / work.kv_heads;

    __device__ BFloat16* own(int which) const {
        return reinterpret_cast<BFloat16*>(memory) + which * S::block_elements;
    }
    __device__ BFloat16* other(int item, int which) const { return own(2 + item % S::stages * 2 + which); }
    __device__ BFloat16 const* warp_rows_of(int which) const { return own(which) + warp_row * row_stride<S::head>; }
    // Of the rows of `item`: log-sum-exps in units of log2(e), infinite for rows that are not there, and deltas.
    __device__ float* log_sum_exps(int item) const {
        return reinterpret_cast<float*>(memory + S::statistics_at) + item % S::stages * 2 * page_tokens;
    }
    __device__ float* deltas(int item) const { return log_sum_exps(item) + page_tokens; }

    // 64 rows of one head of a tensor [rows, heads, head_size], from row 64 index of the segment.
    __device__ void start(BFloat16* to, BFloat16 const* tensor, int index, int heads, int head) const {
        copy_rows<S::head>(to, page_tokens, work.head_size, tensor, [&](int i) {
            int const row = index * page_tokens + i;
            return row < at.rows ? tensor + ((at.first_row + row) * std::int64_t{heads} + head) * work.head_size
                                 : nullptr;
        });
    }
    __device__ std::int64_t place(int row, int head) const {
        return (at.first_row + row) * std::int64_t{work.heads} + head;
    }
    __device__ float log_sum_exp(int row, int head) const {
        return row < at.rows ? work.log_sum_exp[place(row, head)] * log2_e : -minus_infinity();
    }
    __device__ float delta(int row, int head) const { return row < at.rows ? work.delta[place(row, head)] : 0.0F; }

    __device__ int first_column() const { return column_warp * S::tiles * 8; }
    // The warp's 16 rows of the block's own, times `factor`.
    __device__ void write(BFloat16* tensor, float const (&sums)[S::tiles][4], float factor, int heads, int head) const {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            int const row = at.index * page_tokens + warp_row + own_row() + 8 * i;
            if (row >= at.rows) continue;
            BFloat16* const to = tensor + ((at.first_row + row) * std::int64_t{heads} + head) * work.head_size;
#pragma unroll
            for (int tile = 0; tile < S::tiles; ++tile) {
                int const column = first_column() + tile * 8 + own_column();
                if (column < work.head_size)
                    *reinterpret_cast<unsigned*>(to + column) =
                        round_pair(sums[tile][2 * i] * factor, sums[tile][2 * i + 1] * factor);
            }
        }
    }
};

// The exponent of a weight from the product of a query and a key; `slope` takes the derivative of the capped score.
template <bool special>
__device__ inline float exponent(float product, ScoreOptions const& scores, float log_sum_exp, float& slope) {
    if constexpr (special)
        if (scores.softcap != 0) {
            float const capped = softcap(product * scores.scale, scores.softcap);
            slope = softcap_slope(capped, scores.softcap);
            return fmaf(capped, log2_e, -log_sum_exp);
        }
    return fmaf(product, scores.scale * log2_e, -log_sum_exp);
}

// Blocks of rows from the keys' own on, ascending, for each head of the group in order: an item each. With a window up
// to the last one that sees a key.
template <class S, bool special>
struct KeysBlock : Block<S> {
    int const kv_head = static_cast<int>(blockIdx.y);
    int const row_blocks = blocks_of_rows();
    int const items = row_blocks * this->group;

    __device__ int blocks_of_rows() const {
        int const all = (this->at.rows + page_tokens - 1) / page_tokens - this->at.index;
        if (!special || this->work.scores.window > this->at.rows) return all;
        return min(all, (this->work.scores.window + page_tokens - 2) / page_tokens + 1);
    }
    __device__ void start_item(int item) const {
        if (item < items) {
            int const head = kv_head * this->group + item / row_blocks;
            int const index = this->at.index + item % row_blocks;
            this->start(this->other(item, 0), this->work.queries, index, this->work.heads, head);
            this->start(this->other(item, 1), this->work.d_out, index, this->work.heads, head);
            if (threadIdx.x < page_tokens) {
                int const row = index * page_tokens + static_cast<int>(threadIdx.x);
                this->log_sum_exps(item)[threadIdx.x] = this->log_sum_exp(row, head);
                this->deltas(item)[threadIdx.x] = this->delta(row, head);
            }
        }
        cp_async_commit();
    }

    // Rows first .. first + columns - 1 of the item's block. Scores have keys as rows and queries as columns.
    __device__ void add(float (&d_keys)[S::tiles][4], float (&d_values)[S::tiles][4], int item, int first) const {
        BFloat16 const* const queries = this->other(item, 0) + first * row_stride<S::head>;
        BFloat16 const* const d_out = this->other(item, 1) + first * row_stride<S::head>;
        int const from_diagonal = item % row_blocks * page_tokens;
        float weights[S::columns / 8][4];
        [[maybe_unused]] float slopes[special ? S::columns / 8 : 1][4];
        score<S::head>(weights, this->warp_rows_of(0), queries);
#pragma unroll
        for (int tile = 0; tile < S::columns / 8; ++tile)
            for (int i = 0; i < 4; ++i) {
                int const row = first + tile * 8 + own_column() + i % 2;
                int const key = this->warp_row + own_row() + i / 2 * 8;
                float& slope = slopes[special ? tile : 0][i];
                slope = 1;
                float const weight =
                    exp2f(exponent<special>(weights[tile][i], this->work.scores, this->log_sum_exps(item)[row], slope));
                bool unseen = from_diagonal == 0 && row < key;
                if (special) unseen = unseen || from_diagonal + row - key >= this->work.scores.window;
                weights[tile][i] = unseen ? 0.0F : weight;
            }
        add_weighted<S::head>(d_values, weights, d_out + this->first_column());
        float d_weights[S::columns / 8][4];
        score<S::head>(d_weights, this->warp_rows_of(1), d_out);
#pragma unroll
        for (int tile = 0; tile < S::columns / 8; ++tile)
            for (int i = 0; i < 4; ++i) {
                weights[tile][i] *= d_weights[tile][i] - this->deltas(item)[first + tile * 8 + own_column() + i % 2];
                if constexpr (special) weights[tile][i] *= slopes[tile][i];
            }
        add_weighted<S::head>(d_keys, weights, queries + this->first_column());
    }
};

template <int head, bool special>
__global__ void __launch_bounds__(Shape<head>::threads) d_keys_kernel(BackwardWork<BFloat16> work) {
    using S = Shape<head>;
    SELVAGE_DYNAMIC_SHARED(unsigned char, memory);
    KeysBlock<S, special> const block{{work, work.blocks[blockIdx.x], memory}};
    block.start(block.own(0), work.keys, block.at.index, work.kv_heads, block.kv_head);
    block.start(block.own(1), work.values, block.at.index, work.kv_heads, block.kv_head);
    block.start_item(0);
    float d_keys[S::tiles][4], d_values[S::tiles][4];
    clear(d_keys);
    clear(d_values);
    for (int item = 0; item < block.items; ++item) {
        cp_async_wait<0>();
        __syncthreads();  // the item is there, the one before is done with
        if (S::stages > 1) block.start_item(item + 1);
#pragma unroll 1
        for (int first = 0; first < page_tokens; first += S::columns) block.add(d_keys, d_values, item, first);
        if (S::stages > 1) continue;
        __syncthreads();
        block.start_item(item + 1);
    }
    block.write(work.d_keys, d_keys, work.scores.scale, work.kv_heads, block.kv_head);
    block.write(work.d_values, d_values, 1.0F, work.kv_heads, block.kv_head);
}

// Blocks of keys up to the rows' own, ascending: an item each. With a window from the first one on that a row sees.
template <class S, bool special>
struct QueriesBlock : Block<S> {
    int const head = static_cast<int>(blockIdx.y);
    int const first_row = this->at.index * page_tokens + this->warp_row + own_row();
    float const log_sum_exps[2] = {this->log_sum_exp(first_row, head), this->log_sum_exp(first_row + 8, head)};
    float const deltas[2] = {this->delta(first_row, head), this->delta(first_row + 8, head)};

    __device__ int first_item() const {
        return special ? this->work.scores.first_key(this->at.index * page_tokens) / page_tokens : 0;
    }
    __device__ void start_item(int item) const {
        if (item <= this->at.index) {
            int const kv_head = head / this->group;
            this->start(this->other(item, 0), this->work.keys, item, this->work.kv_heads, kv_head);
            this->start(this->other(item, 1), this->work.values, item, this->work.kv_heads, kv_head);
        }
        cp_async_commit();
    }

    // Keys first .. first + columns - 1 of the item's block.
    __device__ void add(float (&d_queries)[S::tiles][4], int item, int first) const {
        BFloat16 const* const keys = this->other(item, 0) + first * row_stride<S::head>;
        BFloat16 const* const values = this->other(item, 1) + first * row_stride<S::head>;
        float weights[S::columns / 8][4], d_weights[S::columns / 8][4];
        score<S::head>(weights, this->warp_rows_of(0), keys);
        score<S::head>(d_weights, this->warp_rows_of(1), values);
#pragma unroll
        for (int tile = 0; tile < S::columns / 8; ++tile)
            for (int i = 0; i < 4; ++i) {
                int const key = item * page_tokens + first + tile * 8 + own_column() + i % 2;
                int const row = first_row + i / 2 * 8;
                float slope = 1;
                float const weight =
                    exp2f(exponent<special>(weights[tile][i], this->work.scores, log_sum_exps[i / 2], slope));
                bool masked = key > row;
                if (special) masked = masked || row - key >= this->work.scores.window;
                weights[tile][i] = masked ? 0.0F : weight * (d_weights[tile][i] - deltas[i / 2]);
                if constexpr (special) weights[tile][i] *= slope;
            }
        add_weighted<S::head>(d_queries, weights, keys + this->first_column());
    }
};

template <int head, bool special>
__global__ void __launch_bounds__(Shape<head>::threads) d_queries_kernel(BackwardWork<BFloat16> work) {
    using S = Shape<head>;
    SELVAGE_DYNAMIC_SHARED(unsigned char, memory);
    // The last blocks of a sequence have most work.
    QueriesBlock<S, special> const block{{work, work.blocks[gridDim.x - 1 - blockIdx.x], memory}};
    block.start(block.own(0), work.queries, block.at.index, work.heads, block.head);
    block.start(block.own(1), work.d_out, block.at.index, work.heads, block.head);
    int const first_item = block.first_item();
    block.start_item(first_item);
    float d_queries[S::tiles][4];
    clear(d_queries);
    for (int item = first_item; item <= block.at.index; ++item) {
        cp_async_wait<0>();
        __syncthreads();  // the item is there, the one before is done with
        if (S::stages > 1) block.start_item(item + 1);
#pragma unroll 1
        for (int first = 0; first < page_tokens; first += S::columns) block.add(d_queries, item, first);
        if (S::stages > 1) continue;
        __syncthreads();
        block.start_item(item + 1);
    }
    block.write(work.d_queries, d_queries, work.scores.scale, work.heads, block.head);
}

}  // namespace

void launch_backward(BackwardWork<BFloat16> const& work, unsigned blocks, Stream& stream) {
    auto const launch_both = [&]<int head, bool special>() {
        using S = Shape<head>;
        dim3 const of_keys(blocks, static_cast<unsigned>(work.kv_heads));
        dim3 const of_queries(blocks, static_cast<unsigned>(work.heads));
        launch(d_keys_kernel<head, special>, of_keys, S::threads, S::bytes, stream, work);
        launch(d_queries_kernel<head, special>, of_queries, S::threads, S::bytes, stream, work);
    };
    with_padded_head(work.head_size, [&]<int head>() {
        if (work.scores.special()) return launch_both.template operator()<head, true>();
        launch_both.template operator()<head, false>();
    });
}

}  // namespace selvage::kernels::cuda

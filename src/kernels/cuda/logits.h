// SPDX-License-Identifier: Apache-2.0
#pragma once
// Logits by vocabulary blocks: a warp has a block of 1024 (kernels/softmax.h), four or fewer warps make a CUDA block.
#include "kernels/block_sum.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/reduce.h"
#include "kernels/softmax.h"
#include "tensor/tensor.h"

namespace selvage::kernels::cuda {

constexpr float minus_infinity = -INFINITY;
constexpr int warps_per_block = 4;
constexpr int logits_per_lane = vocabulary_block / 32;

// Which logits a lane of a vocabulary block has: i counts to logits_per_lane.
__device__ inline int place_in_block(unsigned lane, int i) { return i / 4 * 128 + static_cast<int>(lane) * 4 + i % 4; }

// A vocabulary block's logits in the registers of a warp; minus infinity behind the last one.
struct BlockLogits {
    float values[logits_per_lane];

    // `count` of them; vectors: the block begins at an address of a float4.
    __device__ BlockLogits(float const* block, int count, unsigned lane, bool vectors) {
#pragma unroll
        for (int i = 0; i < logits_per_lane; i += 4) {
            int const place = place_in_block(lane, i);
            if (vectors && place + 4 <= count) {
                Vector<4> const four = load<4>(block + place);
#pragma unroll
                for (int j = 0; j < 4; ++j) values[i + j] = four[j];
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j) values[i + j] = place + j < count ? block[place + j] : minus_infinity;
            }
        }
    }

    // Of the first `count`, for every lane.
    __device__ float largest(int count, unsigned lane) const {
        float most = minus_infinity;
#pragma unroll
        for (int i = 0; i < logits_per_lane; ++i)
            if (place_in_block(lane, i) < count) most = Largest{}(most, values[i]);
        return over_warp(most, Largest{});
    }

    // Each lane the sums of four chains, then trees; the same whatever else is computed. Not a number if a logit is
    // not.
    __device__ BlockSum sum(unsigned lane) const {
        float const max = largest(vocabulary_block, lane);
        float const subtracted = max == minus_infinity ? 0.0F : max;
        float chains[4] = {};
#pragma unroll
        for (int i = 0; i < logits_per_lane; ++i) chains[i % 4] += expf(values[i] - subtracted);
        return {max, over_warp((chains[0] + chains[1]) + (chains[2] + chains[3]), Sum{})};
    }
};

// log-sum-exp of all blocks' sums, for every lane of a warp: scaled to the largest of their maxima, each lane every
// 32nd block, then the tree.
__device__ inline float merged_log_sum_exp(BlockSum const* sums, std::int64_t blocks, unsigned lane) {
    float max = minus_infinity;
    for (std::int64_t i = lane; i < blocks; i += 32) max = Largest{}(max, sums[i].max);
    max = over_warp(max, Largest{});
    float const subtracted = max == minus_infinity ? 0.0F : max;
    float total = 0;
    for (std::int64_t i = lane; i < blocks; i += 32) total = fmaf(sums[i].sum, expf(sums[i].max - subtracted), total);
    total = over_warp(total, Sum{});
    return total == 0.0F ? minus_infinity : max + logf(total);
}

__host__ __device__ constexpr std::int64_t blocks_of(std::int64_t logits) {
    return (logits + vocabulary_block - 1) / vocabulary_block;
}

// The part of a row that is a warp's, in a grid of blocks_of_grid() by rows.
struct BlockPlace {
    std::int64_t row, block, first;
    unsigned lane;
    __device__ BlockPlace()
        : row(blockIdx.x),
          block(static_cast<std::int64_t>(blockIdx.y) * warps_per_block + threadIdx.x / 32),
          first(block * vocabulary_block),
          lane(threadIdx.x % 32) {}
    // How many of the row's first `n` logits are in the block; may be none.
    __device__ int count(std::int64_t n) const {
        return static_cast<int>(max(std::int64_t{0}, min(n - first, vocabulary_block)));
    }
};
inline dim3 grid_of_blocks(std::int64_t rows, std::int64_t logits) {
    std::int64_t const blocks = (blocks_of(logits) + warps_per_block - 1) / warps_per_block;
    return {static_cast<unsigned>(rows), static_cast<unsigned>(blocks)};
}

// sums and largest [rows, blocks of the vocabulary], either null where it is not asked for; largest of the first `ids`
// logits, minus infinity in blocks that have none of them.
void compute_block_sums(BlockSum* sums, float* largest, TensorView logits, std::int64_t ids, Stream& stream);

// log_sum_exp[rows] of sums[rows, blocks].
void merge_block_sums(float* log_sum_exp, BlockSum const* sums, std::int64_t rows, std::int64_t blocks, Stream& stream);
// out[rows] of logits of the ids from first_id on; `outside` for a target that is none of them.
void compute_target_log_probability(float* out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                    std::int64_t first_id, float outside, Stream& stream);

// The largest logit and the lowest id that has it; no_id where no logit is a number.
struct LargestId {
    float logit;
    std::int32_t id;
};
constexpr std::int32_t no_id = 0x7fffffff;
// Each row's, in scratch memory; and, unless it is null, their ids (no_id: 0) to `out`.
LargestId const* find_largest(std::int32_t* out, TensorView logits, std::int64_t ids, Stream& stream);

// Whether each row's float4 are aligned.
inline bool vectors_in_rows(float const* first, std::int64_t row_size) {
    return row_size % 4 == 0 && aligned_for(16, first);
}

}  // namespace selvage::kernels::cuda

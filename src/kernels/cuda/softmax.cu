// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include "kernels/cuda/logits.h"
#include "kernels/cuda/operations.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int row_threads = 32;
constexpr int element_threads = 128;

__global__ void __launch_bounds__(32 * warps_per_block)
    block_sums_kernel(BlockSum* sums, float* largest, float const* logits, std::int64_t vocabulary, std::int64_t ids,
                      bool vectors) {
    BlockPlace const at;
    if (at.first >= vocabulary) return;
    BlockLogits const x(logits + at.row * vocabulary + at.first, at.count(vocabulary), at.lane, vectors);
    std::int64_t const place = at.row * blocks_of(vocabulary) + at.block;
    if (sums != nullptr) {
        BlockSum const sum = x.sum(at.lane);
        if (at.lane == 0) sums[place] = sum;
    }
    if (largest != nullptr) {
        float const most = x.largest(at.count(ids), at.lane);
        if (at.lane == 0) largest[place] = most;
    }
}

__global__ void __launch_bounds__(row_threads)
    merge_block_sums_kernel(float* log_sum_exp, BlockSum const* sums, std::int64_t blocks) {
    float const merged = merged_log_sum_exp(sums + blockIdx.x * blocks, blocks, threadIdx.x);
    if (threadIdx.x == 0) log_sum_exp[blockIdx.x] = merged;
}

// Of ids from first_id on; a target that is none of them gives `outside`.
__global__ void __launch_bounds__(element_threads)
    target_log_probability_kernel(float* out, float const* logits, float const* log_sum_exp,
                                  std::int32_t const* targets, std::int64_t rows, std::int64_t vocabulary,
                                  std::int64_t first_id, float outside) {
    std::int64_t const row = static_cast<std::int64_t>(blockIdx.x) * element_threads + threadIdx.x;
    if (row >= rows) return;
    std::int64_t const target = targets[row] - first_id;
    bool const inside = 0 <= target && target < vocabulary;
    out[row] = inside ? logits[row * vocabulary + target] - log_sum_exp[row] : outside;
}

__device__ bool below(LargestId const& a, LargestId const& b) {
    return a.logit < b.logit || (a.logit == b.logit && b.id < a.id);
}

__device__ LargestId largest_of_warp(LargestId own) {
    for (int apart = 16; apart > 0; apart /= 2) {
        LargestId const other{__shfl_xor_sync(all_lanes, own.logit, apart), __shfl_xor_sync(all_lanes, own.id, apart)};
        if (below(own, other)) own = other;
    }
    return own;
}

// largest[rows, blocks], then of those each row's.
__global__ void __launch_bounds__(32 * warps_per_block)
    block_argmax_kernel(LargestId* largest, float const* logits, std::int64_t vocabulary, std::int64_t ids,
                        bool vectors) {
    BlockPlace const at;
    if (at.first >= ids) return;
    int const count = at.count(ids);
    BlockLogits const x(logits + at.row * vocabulary + at.first, count, at.lane, vectors);
    LargestId own{minus_infinity, no_id};
#pragma unroll
    for (int i = 0; i < logits_per_lane; ++i) {
        int const place = place_in_block(at.lane, i);
        LargestId const other{x.values[i], static_cast<std::int32_t>(at.first) + place};
        if (place < count && below(own, other)) own = other;
    }
    own = largest_of_warp(own);
    if (at.lane == 0) largest[at.row * blocks_of(ids) + at.block] = own;
}

// out: null where it is not asked for.
__global__ void __launch_bounds__(row_threads)
    argmax_kernel(LargestId* rows, std::int32_t* out, LargestId const* largest, std::int64_t blocks) {
    LargestId own{minus_infinity, no_id};
    for (std::int64_t i = threadIdx.x; i < blocks; i += row_threads)
        if (below(own, largest[blockIdx.x * blocks + i])) own = largest[blockIdx.x * blocks + i];
    own = largest_of_warp(own);
    if (threadIdx.x != 0) return;
    rows[blockIdx.x] = own;
    if (out != nullptr) out[blockIdx.x] = own.id == no_id ? 0 : own.id;
}

void check_logits(TensorView logits) { SELVAGE_CHECK(logits.rank() == 2, "logits of shape {}", logits.shape().text()); }

}  // namespace

void compute_block_sums(BlockSum* sums, float* largest, TensorView logits, std::int64_t ids, Stream& stream) {
    float const* const x = logits.as<float>();
    std::int64_t const vocabulary = logits.dim(1);
    launch(block_sums_kernel, grid_of_blocks(logits.dim(0), vocabulary), 32 * warps_per_block, 0, stream, sums, largest,
           x, vocabulary, ids, vectors_in_rows(x, vocabulary));
}

void log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream& stream) {
    check_logits(logits);
    std::int64_t const rows = logits.dim(0), vocabulary = logits.dim(1), blocks = blocks_of(vocabulary);
    SELVAGE_CHECK(log_sum_exp.elements() == rows, "{} sums of {} rows", log_sum_exp.elements(), rows);
    BlockSum* const sums = scratch<BlockSum>(static_cast<std::size_t>(rows * blocks), stream);
    compute_block_sums(sums, nullptr, logits, vocabulary, stream);
    merge_block_sums(log_sum_exp.as<float>(), sums, rows, blocks, stream);
}

void merge_block_sums(float* log_sum_exp, BlockSum const* sums, std::int64_t rows, std::int64_t blocks,
                      Stream& stream) {
    launch(merge_block_sums_kernel, static_cast<unsigned>(rows), row_threads, 0, stream, log_sum_exp, sums, blocks);
}

void compute_target_log_probability(float* out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                    std::int64_t first_id, float outside, Stream& stream) {
    check_logits(logits);
    std::int64_t const rows = logits.dim(0);
    SELVAGE_CHECK(targets.elements() == rows && log_sum_exp.elements() == rows, "{} targets and {} sums for {} rows",
                  targets.elements(), log_sum_exp.elements(), rows);
    auto const blocks = static_cast<unsigned>((rows + element_threads - 1) / element_threads);
    launch(target_log_probability_kernel, blocks, element_threads, 0, stream, out, logits.as<float>(),
           log_sum_exp.as<float>(), targets.as<std::int32_t>(), rows, logits.dim(1), first_id, outside);
}

LargestId const* find_largest(std::int32_t* out, TensorView logits, std::int64_t ids, Stream& stream) {
    check_logits(logits);
    std::int64_t const rows = logits.dim(0), vocabulary = logits.dim(1), blocks = blocks_of(ids);
    SELVAGE_CHECK(0 <= ids && ids <= vocabulary, "{} ids of a vocabulary of {}", ids, vocabulary);
    float const* const x = logits.as<float>();
    auto* const of_rows = scratch<LargestId>(static_cast<std::size_t>(rows * (blocks + 1)), stream);
    LargestId* const largest = of_rows + rows;
    launch(block_argmax_kernel, grid_of_blocks(rows, ids), 32 * warps_per_block, 0, stream, largest, x, vocabulary, ids,
           vectors_in_rows(x, vocabulary));
    launch(argmax_kernel, static_cast<unsigned>(rows), row_threads, 0, stream, of_rows, out, largest, blocks);
    return of_rows;
}

void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            Stream& stream) {
    SELVAGE_CHECK(out.elements() == targets.elements(), "{} targets for {} rows", targets.elements(), out.elements());
    compute_target_log_probability(out.as<float>(), logits, log_sum_exp, targets, 0, NAN, stream);
}

void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream) {
    SELVAGE_CHECK(0 < ids, "{} ids", ids);
    find_largest(out.as<std::int32_t>(), logits, ids, stream);
}

void fill_softmax(Operations& operations) {
    operations.log_sum_exp = log_sum_exp;
    operations.target_log_probability = target_log_probability;
    operations.argmax = argmax;
}

}  // namespace selvage::kernels::cuda

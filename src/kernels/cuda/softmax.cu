// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include "kernels/cuda/logits.h"
#include "kernels/cuda/operations.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int row_threads = 32;
constexpr int element_threads = 128;

__global__ void __launch_bounds__(32 * warps_per_block)
    block_sums_kernel(LogitSum* sums, float* largest, float const* logits, std::int64_t vocabulary, std::int64_t ids,
                      bool vectors) {
    BlockPlace const at;
    if (at.first >= vocabulary) return;
    BlockLogits const x(logits + at.row * vocabulary + at.first, at.count(vocabulary), at.lane, vectors);
    std::int64_t const place = at.row * blocks_of(vocabulary) + at.block;
    if (sums != nullptr) {
        LogitSum const sum = x.sum(at.lane);
        if (at.lane == 0) sums[place] = sum;
    }
    if (largest != nullptr) {
        float const most = x.largest(at.count(ids), at.lane);
        if (at.lane == 0) largest[place] = most;
    }
}

__global__ void __launch_bounds__(row_threads)
    merge_block_sums_kernel(float* log_sum_exp, LogitSum const* sums, std::int64_t blocks) {
    float const merged = merged_log_sum_exp(sums + blockIdx.x * blocks, blocks, threadIdx.x);
    if (threadIdx.x == 0) log_sum_exp[blockIdx.x] = merged;
}

// A target that is no id gives a value that is not a number.
__global__ void __launch_bounds__(element_threads)
    target_log_probability_kernel(float* out, float const* logits, float const* log_sum_exp,
                                  std::int32_t const* targets, std::int64_t rows, std::int64_t vocabulary) {
    std::int64_t const row = static_cast<std::int64_t>(blockIdx.x) * element_threads + threadIdx.x;
    if (row >= rows) return;
    std::int32_t const target = targets[row];
    bool const known = 0 <= target && target < vocabulary;
    out[row] = known ? logits[row * vocabulary + target] - log_sum_exp[row] : NAN;
}

// best[rows, blocks], then of those each row's.
struct Best {
    float logit = minus_infinity;
    std::int32_t id = 0;
    __device__ bool below(Best const& other) const {
        return logit < other.logit || (logit == other.logit && other.id < id);
    }
};

__device__ Best best_of_warp(Best best) {
    for (int apart = 16; apart > 0; apart /= 2) {
        Best const other{__shfl_xor_sync(all_lanes, best.logit, apart), __shfl_xor_sync(all_lanes, best.id, apart)};
        if (best.below(other)) best = other;
    }
    return best;
}

__global__ void __launch_bounds__(32 * warps_per_block)
    block_argmax_kernel(Best* best, float const* logits, std::int64_t vocabulary, std::int64_t ids, bool vectors) {
    BlockPlace const at;
    if (at.first >= ids) return;
    int const count = at.count(ids);
    BlockLogits const x(logits + at.row * vocabulary + at.first, count, at.lane, vectors);
    Best own;
    own.id = static_cast<std::int32_t>(at.first);
#pragma unroll
    for (int i = 0; i < logits_per_lane; ++i)
        if (own.logit < x.values[i])
            own = {x.values[i], static_cast<std::int32_t>(at.first) + place_in_block(at.lane, i)};
    own = best_of_warp(own);
    if (at.lane == 0) best[at.row * blocks_of(ids) + at.block] = own;
}

__global__ void __launch_bounds__(row_threads) argmax_kernel(std::int32_t* out, Best const* best, std::int64_t blocks) {
    Best own = best[blockIdx.x * blocks];
    for (std::int64_t i = threadIdx.x; i < blocks; i += row_threads)
        if (own.below(best[blockIdx.x * blocks + i])) own = best[blockIdx.x * blocks + i];
    own = best_of_warp(own);
    if (threadIdx.x == 0) out[blockIdx.x] = own.id;
}

void check_logits(TensorView logits) { SELVAGE_CHECK(logits.rank() == 2, "logits of shape {}", logits.shape().text()); }

}  // namespace

void compute_block_sums(LogitSum* sums, float* largest, TensorView logits, std::int64_t ids, Stream& stream) {
    float const* const x = logits.as<float>();
    std::int64_t const vocabulary = logits.dim(1);
    launch(block_sums_kernel, grid_of_blocks(logits.dim(0), vocabulary), 32 * warps_per_block, 0, stream, sums, largest,
           x, vocabulary, ids, vectors_in_rows(x, vocabulary));
}

void log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream& stream) {
    check_logits(logits);
    std::int64_t const rows = logits.dim(0), vocabulary = logits.dim(1), blocks = blocks_of(vocabulary);
    SELVAGE_CHECK(log_sum_exp.elements() == rows, "{} sums of {} rows", log_sum_exp.elements(), rows);
    LogitSum* const sums = scratch<LogitSum>(static_cast<std::size_t>(rows * blocks), stream);
    compute_block_sums(sums, nullptr, logits, vocabulary, stream);
    launch(merge_block_sums_kernel, static_cast<unsigned>(rows), row_threads, 0, stream, log_sum_exp.as<float>(), sums,
           blocks);
}

void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            Stream& stream) {
    check_logits(logits);
    std::int64_t const rows = logits.dim(0);
    SELVAGE_CHECK(targets.elements() == rows && log_sum_exp.elements() == rows && out.elements() == rows,
                  "{} targets and {} sums for {} rows", targets.elements(), log_sum_exp.elements(), rows);
    auto const blocks = static_cast<unsigned>((rows + element_threads - 1) / element_threads);
    launch(target_log_probability_kernel, blocks, element_threads, 0, stream, out.as<float>(), logits.as<float>(),
           log_sum_exp.as<float>(), targets.as<std::int32_t>(), rows, logits.dim(1));
}

void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream) {
    check_logits(logits);
    std::int64_t const rows = logits.dim(0), vocabulary = logits.dim(1), blocks = blocks_of(ids);
    SELVAGE_CHECK(0 < ids && ids <= vocabulary, "{} ids of a vocabulary of {}", ids, vocabulary);
    float const* const x = logits.as<float>();
    Best* const best = scratch<Best>(static_cast<std::size_t>(rows * blocks), stream);
    launch(block_argmax_kernel, grid_of_blocks(rows, ids), 32 * warps_per_block, 0, stream, best, x, vocabulary, ids,
           vectors_in_rows(x, vocabulary));
    launch(argmax_kernel, static_cast<unsigned>(rows), row_threads, 0, stream, out.as<std::int32_t>(), best, blocks);
}

void fill_softmax(Operations& operations) {
    operations.log_sum_exp = log_sum_exp;
    operations.target_log_probability = target_log_probability;
    operations.argmax = argmax;
}

}  // namespace selvage::kernels::cuda

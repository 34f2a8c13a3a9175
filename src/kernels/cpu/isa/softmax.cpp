// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/logits.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

float row_max(float const* x, std::int64_t n) { return largest_of(x, n); }

SELVAGE_INLINE BlockSum sum_of_block(float const* logits, std::int64_t count) {
    float const largest = largest_of(logits, count);
    if (largest == minus_infinity) return {largest, 0.0F};
    F16 sums = set(0.0F);
    for (std::int64_t i = 0; i < count; i += lanes)
        sums = sums + exp_of_negative(load_logits(logits + i, count - i) - set(largest));
    return {largest, reduce_add(sums)};
}

// Blocks in order.
struct MergedSum {
    float max = minus_infinity;
    float total = 0;
    SELVAGE_INLINE void add(BlockSum block) {
        if (block.max == minus_infinity) return;
        float const new_max = larger(max, block.max);
        float const block_total = block.sum * exp_scalar(block.max - new_max);
        total = __builtin_fmaf(total, exp_scalar(max - new_max), block_total);
        max = new_max;
    }
    SELVAGE_INLINE float log_sum_exp() const {
        if (!(total > 0.0F)) return total == 0.0F ? minus_infinity : total;  // no logits, or one that is not a number
        return max + log_scalar(total);
    }
};

// take(block's sum) for each block; `max` gets the largest of the first `ids` logits.
template <class Take>
SELVAGE_INLINE void over_blocks(float const* logits, std::int64_t n, std::int64_t ids, float* max, Take const& take) {
    *max = minus_infinity;
    for (std::int64_t begin = 0; begin < n; begin += block_size) {
        std::int64_t const count = n - begin < block_size ? n - begin : block_size;
        BlockSum const block = sum_of_block(logits + begin, count);
        if (begin + count <= ids)
            *max = larger(*max, block.max);
        else if (begin < ids)
            *max = larger(*max, largest_of(logits + begin, ids - begin));
        take(block);
    }
}

float row_log_sum_exp_max(float const* logits, std::int64_t n, std::int64_t ids, float* max) {
    MergedSum merged;
    over_blocks(logits, n, ids, max, [&](BlockSum block) { merged.add(block); });
    return merged.log_sum_exp();
}

void row_block_sums(BlockSum* sums, float const* logits, std::int64_t n, std::int64_t ids, float* max) {
    over_blocks(logits, n, ids, max, [&](BlockSum block) { *sums++ = block; });
}

float merge_block_sums(BlockSum const* sums, std::int64_t count) {
    MergedSum merged;
    for (std::int64_t i = 0; i < count; ++i) merged.add(sums[i]);
    return merged.log_sum_exp();
}

float row_log_sum_exp(float const* logits, std::int64_t n) {
    float max = 0;
    return row_log_sum_exp_max(logits, n, n, &max);
}

std::int64_t row_argmax(float const* x, std::int64_t n) {
    float largest = minus_infinity;
    std::int64_t block = 0;
    for (std::int64_t begin = 0; begin < n; begin += block_size) {
        float const block_max = largest_of(x + begin, n - begin < block_size ? n - begin : block_size);
        if (block_max > largest) {
            largest = block_max;
            block = begin;
        }
    }
    for (std::int64_t i = block; i < n; i += lanes) {
        std::uint32_t const found = lanes_equal(load(x + i, n - i), set(largest));
        if (found != 0 && i + __builtin_ctz(found) < n) return i + __builtin_ctz(found);
    }
    return 0;
}

void row_exp(float* out, float const* in, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) store(out + i, exp(load(in + i, n - i)), n - i);
}

void row_log(float* out, float const* in, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = log_scalar(in[i]);
}

}  // namespace

void fill_softmax(KernelTable& table) {
    table.row_log_sum_exp = row_log_sum_exp;
    table.row_log_sum_exp_max = row_log_sum_exp_max;
    table.row_block_sums = row_block_sums;
    table.merge_block_sums = merge_block_sums;
    table.row_max = row_max;
    table.row_argmax = row_argmax;
    table.row_exp = row_exp;
    table.row_log = row_log;
}

}  // namespace selvage::kernels::SELVAGE_ISA

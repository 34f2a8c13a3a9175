// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/logits.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

float row_max(float const* x, std::int64_t n) { return largest_of(x, n); }

float row_log_sum_exp_max(float const* logits, std::int64_t n, std::int64_t ids, float* max) {
    float total_max = minus_infinity;
    float total = 0;
    *max = minus_infinity;
    for (std::int64_t begin = 0; begin < n; begin += block_size) {
        std::int64_t const count = n - begin < block_size ? n - begin : block_size;
        float const block_max = largest_of(logits + begin, count);
        if (begin + count <= ids)
            *max = larger(*max, block_max);
        else if (begin < ids)
            *max = larger(*max, largest_of(logits + begin, ids - begin));
        if (block_max == minus_infinity) continue;
        F16 sums = set(0.0F);
        for (std::int64_t i = 0; i < count; i += lanes)
            sums = sums + exp_of_negative(load_logits(logits + begin + i, count - i) - set(block_max));
        float const new_max = larger(total_max, block_max);
        float const block_total = reduce_add(sums) * exp_scalar(block_max - new_max);
        total = __builtin_fmaf(total, exp_scalar(total_max - new_max), block_total);
        total_max = new_max;
    }
    if (!(total > 0.0F)) return total == 0.0F ? minus_infinity : total;  // no logits, or one that is not a number
    return total_max + log_scalar(total);
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
    table.row_max = row_max;
    table.row_argmax = row_argmax;
    table.row_exp = row_exp;
    table.row_log = row_log;
}

}  // namespace selvage::kernels::SELVAGE_ISA

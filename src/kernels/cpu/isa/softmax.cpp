// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/simd.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr float minus_infinity = -__builtin_inff();
constexpr std::int64_t block_size = 1024;

SELVAGE_INLINE F16 load_logits(float const* x, std::int64_t count) {
    return count >= lanes ? load(x) : first(count, load(x, count), set(minus_infinity));
}

float row_max(float const* x, std::int64_t n) {
    F16 largest = set(minus_infinity);
    for (std::int64_t i = 0; i < n; i += lanes) largest = max(load_logits(x + i, n - i), largest);
    return reduce_max(largest);
}

float row_log_sum_exp(float const* logits, std::int64_t n) {
    float total_max = minus_infinity;
    float total = 0;
    for (std::int64_t begin = 0; begin < n; begin += block_size) {
        std::int64_t const count = n - begin < block_size ? n - begin : block_size;
        float const block_max = row_max(logits + begin, count);
        if (block_max == minus_infinity) continue;
        F16 sums = set(0.0F);
        for (std::int64_t i = 0; i < count; i += lanes)
            sums = sums + exp(load_logits(logits + begin + i, count - i) - set(block_max));
        float const new_max = larger(total_max, block_max);
        float const block_total = reduce_add(sums) * exp_scalar(block_max - new_max);
        total = __builtin_fmaf(total, exp_scalar(total_max - new_max), block_total);
        total_max = new_max;
    }
    return total == 0.0F ? minus_infinity : total_max + log_scalar(total);
}

void row_fixed_point(std::int64_t* out, float const* logits, float max, float temperature, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) {
        float weights[lanes];
        store(weights, exp((load(logits + i, n - i) - set(max)) / set(temperature)) * set(0x1p40F));
        for (std::int64_t j = 0; j < lanes && i + j < n; ++j) out[i + j] = static_cast<std::int64_t>(weights[j]);
    }
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
    table.row_max = row_max;
    table.row_fixed_point = row_fixed_point;
    table.row_exp = row_exp;
    table.row_log = row_log;
}

}  // namespace selvage::kernels::SELVAGE_ISA

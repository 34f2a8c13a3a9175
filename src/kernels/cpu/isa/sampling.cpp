// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/logits.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr float one = 0x1p40F;

// How (logit - max) / temperature is computed; all have the bits of IEEE's division.
enum class Division { by_one, by_product, plain };

// Markstein's division: the product with the rounded reciprocal is within 2 ulp, a correction makes that less than 1,
// and one more rounds it rightly. For quotients of ordinary size; a numerator below -2^100 weighs nothing anyway.
SELVAGE_INLINE F16 divide(F16 a, F16 b, F16 reciprocal) {
    F16 const numerator = max(a, set(-0x1p100F));
    F16 const minus_b = set(0.0F) - b;
    F16 q = numerator * reciprocal;
    q = fma(fma(q, minus_b, numerator), reciprocal, q);
    return fma(fma(q, minus_b, numerator), reciprocal, q);
}

template <Division division>
SELVAGE_INLINE void weights_of_row(WeightsOfRow const& row) {
    F16 const largest = set(row.max);
    F16 const temperature = set(row.temperature);
    F16 const reciprocal = set(1.0F) / temperature;
    for (std::int64_t begin = 0; begin < row.n; begin += block_size) {
        std::int64_t const end = begin + block_size < row.n ? begin + block_size : row.n;
        WholeSum sum = whole_zero();
        F16 lane_maxima = set(0.0F);
        for (std::int64_t i = begin; i < end; i += lanes) {
            F16 x = load_logits(row.logits + i, end - i) - largest;
            if constexpr (division == Division::by_product) x = divide(x, temperature, reciprocal);
            if constexpr (division == Division::plain) x = x / temperature;
            F16 const weight = exp_of_negative(x) * set(one);
            sum = add_whole(sum, weight);
            if (row.weights == nullptr) continue;
            F16 const whole = truncate(weight);
            store(row.weights + i, whole);
            lane_maxima = max(whole, lane_maxima);
        }
        if (row.block_totals != nullptr) row.block_totals[begin / block_size] = total(sum);
        if (row.lane_maxima != nullptr) store(row.lane_maxima + begin / block_size * lanes, lane_maxima);
    }
}

void row_weights(WeightsOfRow const& row) {
    if (row.temperature == 1.0F)
        weights_of_row<Division::by_one>(row);
    else if (row.temperature > 0x1p-20F && row.temperature < 0x1p20F)
        weights_of_row<Division::by_product>(row);
    else
        weights_of_row<Division::plain>(row);
}

std::int64_t sum_at_least(float const* weights, float bound, std::int64_t n, std::int64_t* count) {
    F16 const limit = set(bound);
    F16 kept = set(0.0F);
    std::int64_t result = 0;
    for (std::int64_t begin = 0; begin < n; begin += block_size) {
        std::int64_t const end = begin + block_size < n ? begin + block_size : n;
        WholeSum sum = whole_zero();
        for (std::int64_t i = begin; i < end; i += lanes) {
            F16 const weight = load(weights + i);
            sum = add_whole(sum, where_less(weight, limit, set(0.0F), weight));
            kept = kept + where_less(weight, limit, set(0.0F), set(1.0F));
        }
        result += total(sum);
    }
    *count = static_cast<std::int64_t>(reduce_add(kept));
    return result;
}

std::int64_t select_between(std::int32_t* ids, float const* weights, float low, float high, std::int64_t n) {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const weight = load(weights + i);
        std::uint32_t chosen = lanes_less(weight, set(high)) & ~lanes_less(weight, set(low));
        for (; chosen != 0; chosen &= chosen - 1) ids[count++] = static_cast<std::int32_t>(i) + __builtin_ctz(chosen);
    }
    return count;
}

}  // namespace

void fill_sampling(KernelTable& table) {
    table.row_weights = row_weights;
    table.sum_at_least = sum_at_least;
    table.select_between = select_between;
}

}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Exact sums of whole numbers.
#include "kernels/cpu/simd/vector.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

// Whole numbers up to 2^40 in floats, and their exact sums: at most 2^13 additions into one WholeSum. Masks of lanes
// have bit i for lane i.
#if defined(SELVAGE_SIMD_AVX512)
SELVAGE_INLINE F16 truncate(F16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)}; }
struct WholeSum {
    __m512i low, high;
};
SELVAGE_INLINE WholeSum whole_zero() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
// Adds the whole part of each lane.
SELVAGE_INLINE WholeSum add_whole(WholeSum sum, F16 a) {
    return {_mm512_add_epi64(sum.low, _mm512_cvttps_epi64(low_half(a))),
            _mm512_add_epi64(sum.high, _mm512_cvttps_epi64(high_half(a)))};
}
SELVAGE_INLINE std::int64_t total(WholeSum sum) { return _mm512_reduce_add_epi64(_mm512_add_epi64(sum.low, sum.high)); }
SELVAGE_INLINE std::uint32_t lanes_equal(F16 a, F16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
SELVAGE_INLINE std::uint32_t lanes_less(F16 a, F16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
#elif defined(SELVAGE_SIMD_AVX2)
SELVAGE_INLINE F16 truncate(F16 a) {
    constexpr int towards_zero = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.low, towards_zero), _mm256_round_ps(a.high, towards_zero)};
}
// In doubles: sums stay below 2^53.
struct WholeSum {
    __m256d part[4];
};
SELVAGE_INLINE WholeSum whole_zero() {
    __m256d const zero = _mm256_setzero_pd();
    return {{zero, zero, zero, zero}};
}
SELVAGE_INLINE WholeSum add_whole(WholeSum sum, F16 a) {
    F16 const whole = truncate(a);
    __m128 const quarters[4] = {_mm256_castps256_ps128(whole.low), _mm256_extractf128_ps(whole.low, 1),
                                _mm256_castps256_ps128(whole.high), _mm256_extractf128_ps(whole.high, 1)};
    for (int i = 0; i < 4; ++i) sum.part[i] = _mm256_add_pd(sum.part[i], _mm256_cvtps_pd(quarters[i]));
    return sum;
}
SELVAGE_INLINE std::int64_t total(WholeSum sum) {
    std::int64_t result = 0;
    for (__m256d const part : sum.part) {
        double values[4];
        _mm256_storeu_pd(values, part);
        for (double const value : values) result += static_cast<std::int64_t>(value);
    }
    return result;
}
SELVAGE_INLINE std::uint32_t lanes_of(__m256 low, __m256 high) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(low)) | static_cast<std::uint32_t>(_mm256_movemask_ps(high))
                                                                     << 8;
}
SELVAGE_INLINE std::uint32_t lanes_equal(F16 a, F16 b) {
    return lanes_of(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
}
SELVAGE_INLINE std::uint32_t lanes_less(F16 a, F16 b) {
    return lanes_of(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ));
}
#else
SELVAGE_INLINE F16 truncate(F16 a) {
    for (int i = 0; i < lanes; ++i) a.v[i] = static_cast<float>(static_cast<std::int64_t>(a.v[i]));
    return a;
}
struct WholeSum {
    std::int64_t lane[lanes];
};
SELVAGE_INLINE WholeSum whole_zero() { return {}; }
SELVAGE_INLINE WholeSum add_whole(WholeSum sum, F16 a) {
    for (int i = 0; i < lanes; ++i) sum.lane[i] += static_cast<std::int64_t>(a.v[i]);
    return sum;
}
SELVAGE_INLINE std::int64_t total(WholeSum sum) {
    std::int64_t result = 0;
    for (std::int64_t const lane : sum.lane) result += lane;
    return result;
}
SELVAGE_INLINE std::uint32_t lanes_equal(F16 a, F16 b) {
    std::uint32_t mask = 0;
    for (int i = 0; i < lanes; ++i) mask |= static_cast<std::uint32_t>(a.v[i] == b.v[i]) << i;
    return mask;
}
SELVAGE_INLINE std::uint32_t lanes_less(F16 a, F16 b) {
    std::uint32_t mask = 0;
    for (int i = 0; i < lanes; ++i) mask |= static_cast<std::uint32_t>(a.v[i] < b.v[i]) << i;
    return mask;
}
#endif

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

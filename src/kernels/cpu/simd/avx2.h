// SPDX-License-Identifier: Apache-2.0
#pragma once
// F16 by AVX2 with FMA; included by vector.h.
namespace selvage::kernels::SELVAGE_ISA {
namespace {

struct F16 {
    __m256 low;
    __m256 high;
};
alignas(64) constexpr std::int32_t mask_table[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
SELVAGE_INLINE __m256i mask_low(std::int64_t count) {
    std::int64_t const n = count >= lanes ? lanes : count;
    return _mm256_loadu_si256(reinterpret_cast<__m256i const*>(mask_table + lanes - n));
}
SELVAGE_INLINE __m256i mask_high(std::int64_t count) {
    std::int64_t const n = count >= lanes ? lanes : count;
    return _mm256_loadu_si256(reinterpret_cast<__m256i const*>(mask_table + lanes + 8 - n));
}
SELVAGE_INLINE F16 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
SELVAGE_INLINE F16 load(float const* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
SELVAGE_INLINE F16 load(float const* p, std::int64_t count) {
    return {_mm256_maskload_ps(p, mask_low(count)), _mm256_maskload_ps(p + 8, mask_high(count))};
}
SELVAGE_INLINE void store(float* p, F16 a) {
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
SELVAGE_INLINE void store(float* p, F16 a, std::int64_t count) {
    _mm256_maskstore_ps(p, mask_low(count), a.low);
    _mm256_maskstore_ps(p + 8, mask_high(count), a.high);
}
SELVAGE_INLINE F16 operator+(F16 a, F16 b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
SELVAGE_INLINE F16 operator-(F16 a, F16 b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
SELVAGE_INLINE F16 operator*(F16 a, F16 b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
SELVAGE_INLINE F16 operator/(F16 a, F16 b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
SELVAGE_INLINE F16 fma(F16 a, F16 b, F16 c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
SELVAGE_INLINE F16 max(F16 a, F16 b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
SELVAGE_INLINE F16 sqrt(F16 a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
SELVAGE_INLINE F16 first(std::int64_t count, F16 a, F16 b) {
    std::int64_t const n = count < 0 ? 0 : count;
    return {_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(mask_low(n))),
            _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(mask_high(n)))};
}
SELVAGE_INLINE F16 where_less(F16 x, F16 limit, F16 a, F16 b) {
    return {_mm256_blendv_ps(b.low, a.low, _mm256_cmp_ps(x.low, limit.low, _CMP_LT_OQ)),
            _mm256_blendv_ps(b.high, a.high, _mm256_cmp_ps(x.high, limit.high, _CMP_LT_OQ))};
}
// In two factors, as 2^128 and 2^-127 are no normal numbers.
SELVAGE_INLINE __m256 scale_half(__m256 a, __m256 rounded) {
    __m256i const n = _mm256_sub_epi32(_mm256_castps_si256(rounded), _mm256_set1_epi32(0x4b400000));
    __m256i const n1 = _mm256_srai_epi32(n, 1);
    __m256i const bias = _mm256_set1_epi32(127);
    __m256i const power1 = _mm256_slli_epi32(_mm256_add_epi32(n1, bias), 23);
    __m256i const power2 = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, n1), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(power1)), _mm256_castsi256_ps(power2));
}
SELVAGE_INLINE F16 scale_by_power(F16 a, F16 rounded) {
    return {scale_half(a.low, rounded.low), scale_half(a.high, rounded.high)};
}
SELVAGE_INLINE __m256 shift_half(__m256 a, __m256 rounded) {
    __m256i const n = _mm256_slli_epi32(_mm256_castps_si256(rounded), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), n));
}
SELVAGE_INLINE F16 shift_exponent(F16 a, F16 rounded, F16 x, F16 limit) {
    F16 const shifted = {shift_half(a.low, rounded.low), shift_half(a.high, rounded.high)};
    return where_less(x, limit, set(0.0F), shifted);
}
using F8 = __m256;
SELVAGE_INLINE F8 low_half(F16 a) { return a.low; }
SELVAGE_INLINE F8 high_half(F16 a) { return a.high; }

SELVAGE_INLINE F16 load(BFloat16 const* p) {
    auto const half = [p](int first) {
        __m128i const bits = _mm_loadu_si128(reinterpret_cast<__m128i const*>(p + first));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    };
    return {half(0), half(8)};
}
// The upper halves of the words hold zeros.
SELVAGE_INLINE __m256i rounded_bf16(__m256 a) {
    __m256i const bits = _mm256_castps_si256(a);
    __m256i const odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i const sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256i const quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i const sign = _mm256_and_si256(bits, _mm256_set1_epi32(static_cast<int>(0x80000000U)));
    __m256i const exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000));
    __m256i const is_nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    __m256i const is_small = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
    __m256i const rounded = _mm256_blendv_epi8(_mm256_blendv_epi8(sum, quiet, is_nan), sign, is_small);
    return _mm256_srli_epi32(rounded, 16);
}
SELVAGE_INLINE void store(BFloat16* p, F16 a) {
    __m256i const mixed = _mm256_packus_epi32(rounded_bf16(a.low), rounded_bf16(a.high));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(mixed, 0xd8));
}
SELVAGE_INLINE __m256 pairs_of(__m256 even, __m256 odd) {
    __m256i const low = _mm256_srli_epi32(_mm256_castps_si256(even), 16);
    return _mm256_castsi256_ps(_mm256_blend_epi16(low, _mm256_castps_si256(odd), 0xaa));
}
SELVAGE_INLINE F16 pairs_of(F16 even, F16 odd) { return {pairs_of(even.low, odd.low), pairs_of(even.high, odd.high)}; }
SELVAGE_INLINE F16 even_only(F16 pairs) {
    __m256 const low = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff));
    return {_mm256_and_ps(pairs.low, low), _mm256_and_ps(pairs.high, low)};
}
SELVAGE_INLINE __m256 rounded_pairs(__m256 even, __m256 odd) {
    __m256i const high = _mm256_slli_epi32(rounded_bf16(odd), 16);
    return _mm256_castsi256_ps(_mm256_or_si256(rounded_bf16(even), high));
}
SELVAGE_INLINE F16 rounded_pairs(F16 even, F16 odd) {
    return {rounded_pairs(even.low, odd.low), rounded_pairs(even.high, odd.high)};
}

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#pragma once
// F16 by AVX-512; included by vector.h.
namespace selvage::kernels::SELVAGE_ISA {
namespace {

struct F16 {
    __m512 v;
};
SELVAGE_INLINE __mmask16 first_lanes(std::int64_t count) {
    return count >= lanes ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1U << count) - 1U);
}
SELVAGE_INLINE F16 set(float x) { return {_mm512_set1_ps(x)}; }
SELVAGE_INLINE F16 load(float const* p) { return {_mm512_loadu_ps(p)}; }
SELVAGE_INLINE F16 load(float const* p, std::int64_t count) { return {_mm512_maskz_loadu_ps(first_lanes(count), p)}; }
SELVAGE_INLINE void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
SELVAGE_INLINE void store(float* p, F16 a, std::int64_t count) { _mm512_mask_storeu_ps(p, first_lanes(count), a.v); }
SELVAGE_INLINE F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
SELVAGE_INLINE F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
SELVAGE_INLINE F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
SELVAGE_INLINE F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
SELVAGE_INLINE F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
SELVAGE_INLINE F16 max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
SELVAGE_INLINE F16 sqrt(F16 a) { return {_mm512_sqrt_ps(a.v)}; }
// a in the first `count` lanes, b in the others.
SELVAGE_INLINE F16 first(std::int64_t count, F16 a, F16 b) {
    return {_mm512_mask_blend_ps(first_lanes(count < 0 ? 0 : count), b.v, a.v)};
}
// x < limit ? a : b in each lane.
SELVAGE_INLINE F16 where_less(F16 x, F16 limit, F16 a, F16 b) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, limit.v, _CMP_LT_OQ), b.v, a.v)};
}
// a 2^n, where n = rounded - 1.5 2^23 and the result is a normal number.
SELVAGE_INLINE F16 scale_by_power(F16 a, F16 rounded) {
    return {_mm512_scalef_ps(a.v, _mm512_sub_ps(rounded.v, _mm512_set1_ps(12582912.0F)))};
}
// The same where limit <= x, else 0, by adding to the exponent: a and the result are normal numbers.
SELVAGE_INLINE F16 shift_exponent(F16 a, F16 rounded, F16 x, F16 limit) {
    __m512i const n = _mm512_slli_epi32(_mm512_castps_si512(rounded.v), 23);
    __mmask16 const kept = _mm512_cmp_ps_mask(x.v, limit.v, _CMP_NLT_UQ);
    return {_mm512_castsi512_ps(_mm512_maskz_add_epi32(kept, _mm512_castps_si512(a.v), n))};
}
using F8 = __m256;
SELVAGE_INLINE F8 low_half(F16 a) { return _mm512_castps512_ps256(a.v); }
SELVAGE_INLINE F8 high_half(F16 a) { return _mm512_extractf32x8_ps(a.v, 1); }

SELVAGE_INLINE F16 widened(__m256i halves) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}
// The upper halves of the words hold the result.
SELVAGE_INLINE __m512i rounded_words(F16 a) {
    __m512i const bits = _mm512_castps_si512(a.v);
    __m512i const odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i const sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __m512i const quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    __m512i const sign = _mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0x80000000U)));
    __mmask16 const is_nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    __mmask16 const is_normal = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
    return _mm512_mask_blend_epi32(is_normal, sign, _mm512_mask_blend_epi32(is_nan, sum, quiet));
}
#if defined(SELVAGE_SIMD_AVX512_BF16)
SELVAGE_INLINE __m256i rounded_bf16(F16 a) { return (__m256i)_mm512_cvtneps_pbh(a.v); }
#else
SELVAGE_INLINE __m256i rounded_bf16(F16 a) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_words(a), 16)); }
#endif
SELVAGE_INLINE F16 load(BFloat16 const* p) { return widened(_mm256_loadu_si256(reinterpret_cast<__m256i const*>(p))); }
SELVAGE_INLINE F16 load(BFloat16 const* p, std::int64_t count) {
    return widened(_mm256_maskz_loadu_epi16(first_lanes(count), p));
}
SELVAGE_INLINE void store(BFloat16* p, F16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded_bf16(a)); }
SELVAGE_INLINE void store(BFloat16* p, F16 a, std::int64_t count) {
    _mm256_mask_storeu_epi16(p, first_lanes(count), rounded_bf16(a));
}
// Pairs of bfloat16 as words: the upper half of each even word in the lower half, of each odd word in the upper half.
SELVAGE_INLINE F16 pairs_of(F16 even, F16 odd) {
    __m512i const low = _mm512_srli_epi32(_mm512_castps_si512(even.v), 16);
    return {_mm512_castsi512_ps(_mm512_mask_blend_epi16(0xaaaaaaaaU, low, _mm512_castps_si512(odd.v)))};
}
// The odd elements of pairs at zero.
SELVAGE_INLINE F16 even_only(F16 pairs) {
    return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs.v), _mm512_set1_epi32(0xffff)))};
}
#if defined(SELVAGE_SIMD_AVX512_BF16)
SELVAGE_INLINE F16 rounded_pairs(F16 even, F16 odd) {
    alignas(64) static constexpr std::uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                            21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                            11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i const halves = (__m512i)_mm512_cvtne2ps_pbh(odd.v, even.v);
    return {_mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(order), halves))};
}
SELVAGE_INLINE void store(BFloat16* p, F16 a, F16 b) { _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v)); }
#else
SELVAGE_INLINE F16 rounded_pairs(F16 even, F16 odd) {
    return pairs_of({_mm512_castsi512_ps(rounded_words(even))}, {_mm512_castsi512_ps(rounded_words(odd))});
}
#endif

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

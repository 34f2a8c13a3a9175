// SPDX-License-Identifier: Apache-2.0
#pragma once
// F16: a logical vector of 16 floats, by AVX-512, by AVX2 or portably, with the same bits from each: every operation is
// IEEE's correctly rounded one, sums over lanes follow one tree, and exp and log are our own polynomials. Included by
// the sources in isa/ only, which are compiled once per instruction set (SELVAGE_ISA names it). Everything here has
// internal linkage, so that code for one instruction set is never merged with another's.
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

// What an instruction set has beside what its name says.
#if defined(SELVAGE_SIMD_AMX)
#define SELVAGE_SIMD_AVX512_BF16
#endif
#if defined(SELVAGE_SIMD_AVX512_BF16)
#define SELVAGE_SIMD_AVX512
#endif
#if defined(SELVAGE_SIMD_AVX512) || defined(SELVAGE_SIMD_AVX2)
#include <immintrin.h>
#endif

#define SELVAGE_INLINE [[maybe_unused]] __attribute__((always_inline)) inline

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr int lanes = 16;
// The registers allow a product tile of this many rows and vectors.
#if defined(SELVAGE_SIMD_AVX512)
constexpr int tile_rows = 6;
constexpr int tile_vectors = 4;
#elif defined(SELVAGE_SIMD_AVX2)
constexpr int tile_rows = 6;
constexpr int tile_vectors = 1;
#else
constexpr int tile_rows = 4;
constexpr int tile_vectors = 1;
#endif

SELVAGE_INLINE std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
SELVAGE_INLINE float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

// bfloat16 rounds to the nearest, ties to even, as the processors' instruction for it does: numbers below the smallest
// normal one become zero of their sign; a NaN stays one.
SELVAGE_INLINE float value_of(float x) { return x; }
SELVAGE_INLINE float value_of(BFloat16 x) { return float_of(static_cast<std::uint32_t>(x.bits) << 16); }
SELVAGE_INLINE BFloat16 rounded_bf16(float x) {
    std::uint32_t const bits = bits_of(x);
    std::uint32_t const sum = bits + 0x7fffU + ((bits >> 16) & 1U);
    if ((bits & 0x7f800000U) == 0) return {static_cast<std::uint16_t>((bits & 0x80000000U) >> 16)};
    return {static_cast<std::uint16_t>((x != x ? bits | 0x400000U : sum) >> 16)};
}

#if defined(SELVAGE_SIMD_AVX512)

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

#elif defined(SELVAGE_SIMD_AVX2)

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

#else

// GCC's and Clang's vector extension, for any processor.
using Vector = float __attribute__((vector_size(4 * lanes)));
using Bits = std::int32_t __attribute__((vector_size(4 * lanes)));
struct F16 {
    Vector v;
};
SELVAGE_INLINE F16 set(float x) { return {Vector{} + x}; }
SELVAGE_INLINE F16 load(float const* p) {
    F16 r;
    __builtin_memcpy(&r.v, p, sizeof r.v);
    return r;
}
[[maybe_unused]] F16 load(float const* p, std::int64_t count) {
    F16 r = {Vector{}};
    __builtin_memcpy(&r.v, p, sizeof(float) * static_cast<std::size_t>(count < lanes ? count : lanes));
    return r;
}
SELVAGE_INLINE void store(float* p, F16 a) { __builtin_memcpy(p, &a.v, sizeof a.v); }
[[maybe_unused]] void store(float* p, F16 a, std::int64_t count) {
    __builtin_memcpy(p, &a.v, sizeof(float) * static_cast<std::size_t>(count < lanes ? count : lanes));
}
SELVAGE_INLINE F16 operator+(F16 a, F16 b) { return {a.v + b.v}; }
SELVAGE_INLINE F16 operator-(F16 a, F16 b) { return {a.v - b.v}; }
SELVAGE_INLINE F16 operator*(F16 a, F16 b) { return {a.v * b.v}; }
SELVAGE_INLINE F16 operator/(F16 a, F16 b) { return {a.v / b.v}; }
SELVAGE_INLINE F16 fma(F16 a, F16 b, F16 c) {
    F16 r;
    for (int i = 0; i < lanes; ++i) r.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
    return r;
}
SELVAGE_INLINE F16 max(F16 a, F16 b) { return {a.v > b.v ? a.v : b.v}; }
SELVAGE_INLINE F16 sqrt(F16 a) {
    F16 r;
    for (int i = 0; i < lanes; ++i) r.v[i] = __builtin_sqrtf(a.v[i]);
    return r;
}
SELVAGE_INLINE F16 first(std::int64_t count, F16 a, F16 b) {
    Bits const index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    auto const limit = static_cast<std::int32_t>(count < 0 ? 0 : (count < lanes ? count : lanes));
    return {index < Bits{} + limit ? a.v : b.v};
}
SELVAGE_INLINE F16 where_less(F16 x, F16 limit, F16 a, F16 b) { return {x.v < limit.v ? a.v : b.v}; }
SELVAGE_INLINE F16 scale_by_power(F16 a, F16 rounded) {
    Bits const n = reinterpret_cast<Bits>(rounded.v) - 0x4b400000;
    Bits const n1 = n >> 1;
    return {a.v * reinterpret_cast<Vector>((n1 + 127) << 23) * reinterpret_cast<Vector>((n - n1 + 127) << 23)};
}
SELVAGE_INLINE F16 shift_exponent(F16 a, F16 rounded, F16 x, F16 limit) {
    Bits const shifted = reinterpret_cast<Bits>(a.v) + (reinterpret_cast<Bits>(rounded.v) << 23);
    return where_less(x, limit, set(0.0F), {reinterpret_cast<Vector>(shifted)});
}
SELVAGE_INLINE F16 load(BFloat16 const* p) {
    F16 r;
    for (int i = 0; i < lanes; ++i) r.v[i] = float_of(static_cast<std::uint32_t>(p[i].bits) << 16);
    return r;
}
SELVAGE_INLINE void store(BFloat16* p, F16 a) {
    for (int i = 0; i < lanes; ++i) p[i] = rounded_bf16(a.v[i]);
}
SELVAGE_INLINE F16 pairs_of(F16 even, F16 odd) {
    F16 r;
    for (int i = 0; i < lanes; ++i) r.v[i] = float_of(bits_of(even.v[i]) >> 16 | (bits_of(odd.v[i]) & 0xffff0000U));
    return r;
}
SELVAGE_INLINE F16 even_only(F16 pairs) { return {reinterpret_cast<Vector>(reinterpret_cast<Bits>(pairs.v) & 0xffff)}; }
SELVAGE_INLINE F16 rounded_pairs(F16 even, F16 odd) {
    F16 r;
    for (int i = 0; i < lanes; ++i) {
        std::uint32_t const low = rounded_bf16(even.v[i]).bits;
        std::uint32_t const high = rounded_bf16(odd.v[i]).bits;
        r.v[i] = float_of(low | high << 16);
    }
    return r;
}

#endif

#if !defined(SELVAGE_SIMD_AVX512_BF16)
// a, then b, rounded.
SELVAGE_INLINE void store(BFloat16* p, F16 a, F16 b) {
    store(p, a);
    store(p + lanes, b);
}
#endif
// Sixteen words, unchanged.
SELVAGE_INLINE F16 load_words(BFloat16 const* p) { return load(reinterpret_cast<float const*>(p)); }
SELVAGE_INLINE F16 load_words(BFloat16 const* p, std::int64_t count) {
    return load(reinterpret_cast<float const*>(p), count);
}
SELVAGE_INLINE void store_words(BFloat16* p, F16 a) { store(reinterpret_cast<float*>(p), a); }
SELVAGE_INLINE void store_words(BFloat16* p, F16 a, std::int64_t count) {
    store(reinterpret_cast<float*>(p), a, count);
}

#if !defined(SELVAGE_SIMD_AVX512)
[[maybe_unused]] F16 load(BFloat16 const* p, std::int64_t count) {
    BFloat16 part[lanes] = {};
    __builtin_memcpy(part, p, sizeof(BFloat16) * static_cast<std::size_t>(count < lanes ? count : lanes));
    return load(part);
}
[[maybe_unused]] void store(BFloat16* p, F16 a, std::int64_t count) {
    BFloat16 part[lanes];
    store(part, a);
    __builtin_memcpy(p, part, sizeof(BFloat16) * static_cast<std::size_t>(count < lanes ? count : lanes));
}
#endif

// The tree over lanes: i with i + 8, then i + 4, i + 2, i + 1.
#if defined(SELVAGE_SIMD_AVX512) || defined(SELVAGE_SIMD_AVX2)
SELVAGE_INLINE float reduce_add(F16 a) {
    __m256 const eight = _mm256_add_ps(low_half(a), high_half(a));
    __m128 const four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 const two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
SELVAGE_INLINE float reduce_max(F16 a) {
    __m256 const eight = _mm256_max_ps(low_half(a), high_half(a));
    __m128 const four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 const two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
#else
SELVAGE_INLINE float reduce_add(F16 a) {
    for (int step = 8; step > 0; step /= 2)
        for (int i = 0; i < step; ++i) a.v[i] = a.v[i] + a.v[i + step];
    return a.v[0];
}
SELVAGE_INLINE float reduce_max(F16 a) {
    for (int step = 8; step > 0; step /= 2)
        for (int i = 0; i < step; ++i) a.v[i] = a.v[i] > a.v[i + step] ? a.v[i] : a.v[i + step];
    return a.v[0];
}
#endif

// Lane i: reduce_add(x[i]), reduce_max(x[i]), with the same trees.
#if defined(SELVAGE_SIMD_AVX512)
template <class Operation>
SELVAGE_INLINE F16 reduce_each(F16 const (&x)[lanes], Operation const& join) {
    F16 quarter[4];
    for (int i = 0; i < 4; ++i) {
        // Eight sums of row i and of row i + 4, then of rows i + 8 and i + 12; four of each; two of each.
        F16 eight[2];
        for (int j = 0; j < 2; ++j) {
            __m512 const a = x[i + 8 * j].v;
            __m512 const b = x[i + 8 * j + 4].v;
            eight[j] = join({_mm512_shuffle_f32x4(a, b, 0x44)}, {_mm512_shuffle_f32x4(a, b, 0xee)});
        }
        quarter[i] = join({_mm512_shuffle_f32x4(eight[0].v, eight[1].v, 0x88)},
                          {_mm512_shuffle_f32x4(eight[0].v, eight[1].v, 0xdd)});
    }
    F16 two[2];
    for (int i = 0; i < 2; ++i) {
        __m512 const a = quarter[2 * i].v;
        __m512 const b = quarter[2 * i + 1].v;
        two[i] = join({_mm512_shuffle_ps(a, b, 0x44)}, {_mm512_shuffle_ps(a, b, 0xee)});
    }
    return join({_mm512_shuffle_ps(two[0].v, two[1].v, 0x88)}, {_mm512_shuffle_ps(two[0].v, two[1].v, 0xdd)});
}
SELVAGE_INLINE F16 reduce_add_each(F16 const (&x)[lanes]) {
    return reduce_each(
        x, [](F16 a, F16 b) __attribute__((always_inline)) { return a + b; });
}
SELVAGE_INLINE F16 reduce_max_each(F16 const (&x)[lanes]) {
    return reduce_each(
        x, [](F16 a, F16 b) __attribute__((always_inline)) { return max(a, b); });
}
#else
[[maybe_unused]] F16 reduce_add_each(F16 const (&x)[lanes]) {
    float sums[lanes];
    for (int i = 0; i < lanes; ++i) sums[i] = reduce_add(x[i]);
    return load(sums);
}
[[maybe_unused]] F16 reduce_max_each(F16 const (&x)[lanes]) {
    float largest[lanes];
    for (int i = 0; i < lanes; ++i) largest[i] = reduce_max(x[i]);
    return load(largest);
}
#endif

// x[i][j] and x[j][i] change places.
#if defined(SELVAGE_SIMD_AVX512)
// Pairs of rows `Step` apart, blocks of `Step` lanes: the off-diagonal blocks change places.
template <int Step>
SELVAGE_INLINE void transpose_step(F16 (&x)[lanes]) {
    alignas(64) std::int32_t upper[lanes];
    alignas(64) std::int32_t lower[lanes];
    for (int j = 0; j < lanes; ++j) {
        bool const second = (j & Step) != 0;
        upper[j] = second ? (j ^ Step) + lanes : j;
        lower[j] = second ? j + lanes : j ^ Step;
    }
    __m512i const from_upper = _mm512_load_si512(upper);
    __m512i const from_lower = _mm512_load_si512(lower);
    for (int i = 0; i < lanes; ++i) {
        if ((i & Step) != 0) continue;
        __m512 const a = x[i].v;
        __m512 const b = x[i + Step].v;
        x[i].v = _mm512_permutex2var_ps(a, from_upper, b);
        x[i + Step].v = _mm512_permutex2var_ps(a, from_lower, b);
    }
}
SELVAGE_INLINE void transpose(F16 (&x)[lanes]) {
    transpose_step<8>(x);
    transpose_step<4>(x);
    transpose_step<2>(x);
    transpose_step<1>(x);
}
#elif defined(SELVAGE_SIMD_AVX2)
SELVAGE_INLINE void transpose_quarter(__m256 (&x)[8]) {
    __m256 t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    __m256 u[8];
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; ++j) {
            u[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
            u[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
        }
    for (int i = 0; i < 4; ++i) {
        x[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}
SELVAGE_INLINE void transpose(F16 (&x)[lanes]) {
    __m256 quarters[4][8];
    for (int i = 0; i < 8; ++i) {
        quarters[0][i] = x[i].low;
        quarters[1][i] = x[i + 8].low;
        quarters[2][i] = x[i].high;
        quarters[3][i] = x[i + 8].high;
    }
    for (auto& quarter : quarters) transpose_quarter(quarter);
    for (int i = 0; i < 8; ++i) {
        x[i] = {quarters[0][i], quarters[1][i]};
        x[i + 8] = {quarters[2][i], quarters[3][i]};
    }
}
#else
SELVAGE_INLINE void transpose(F16 (&x)[lanes]) {
    for (int i = 0; i < lanes; ++i)
        for (int j = 0; j < i; ++j) {
            float const kept = x[i].v[j];
            x[i].v[j] = x[j].v[i];
            x[j].v[i] = kept;
        }
}
#endif

// Sixteen pairs of bfloat16, the even element in the lower half of each word.
#if defined(SELVAGE_SIMD_AVX512_BF16)
struct Pairs16 {
    __m512bh v;
};
SELVAGE_INLINE Pairs16 load_pairs(BFloat16 const* p) { return {(__m512bh)_mm512_loadu_si512(p)}; }
SELVAGE_INLINE Pairs16 set_pair(BFloat16 const* p) {
    std::int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return {(__m512bh)_mm512_set1_epi32(word)};
}
// acc + a b over each pair: the odd element's product first, then the even one's.
SELVAGE_INLINE F16 fma_pairs(Pairs16 a, Pairs16 b, F16 acc) { return {_mm512_dpbf16_ps(acc.v, a.v, b.v)}; }
#else
struct Pairs16 {
    F16 even, odd;
};
#if defined(SELVAGE_SIMD_AVX512)
SELVAGE_INLINE Pairs16 split_pairs(__m512i words) {
    return {{_mm512_castsi512_ps(_mm512_slli_epi32(words, 16))},
            {_mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000U))))}};
}
SELVAGE_INLINE Pairs16 load_pairs(BFloat16 const* p) { return split_pairs(_mm512_loadu_si512(p)); }
#elif defined(SELVAGE_SIMD_AVX2)
SELVAGE_INLINE Pairs16 load_pairs(BFloat16 const* p) {
    __m256i const high = _mm256_set1_epi32(static_cast<int>(0xffff0000U));
    __m256i const a = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(p));
    __m256i const b = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(p + lanes));
    return {{_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))},
            {_mm256_castsi256_ps(_mm256_and_si256(a, high)), _mm256_castsi256_ps(_mm256_and_si256(b, high))}};
}
#else
SELVAGE_INLINE Pairs16 load_pairs(BFloat16 const* p) {
    Pairs16 r;
    for (int i = 0; i < lanes; ++i) {
        r.even.v[i] = value_of(p[2 * i]);
        r.odd.v[i] = value_of(p[2 * i + 1]);
    }
    return r;
}
#endif
SELVAGE_INLINE Pairs16 set_pair(BFloat16 const* p) { return {set(value_of(p[0])), set(value_of(p[1]))}; }
// acc + a b over each pair: the odd element's product first, then the even one's.
SELVAGE_INLINE F16 fma_pairs(Pairs16 a, Pairs16 b, F16 acc) { return fma(a.even, b.even, fma(a.odd, b.odd, acc)); }
#endif

// Sixteen words, kept as the lanes of an F16: pairs (even[i], odd[i]), rounded.
// And 32 rounded values in a row: first, then second.
#if defined(SELVAGE_SIMD_AVX512)
SELVAGE_INLINE F16 pair_words(F16 even, F16 odd) {
    __m512i const low = _mm512_cvtepu16_epi32(rounded_bf16(even));
    __m512i const high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded_bf16(odd)), 16);
    return {_mm512_castsi512_ps(_mm512_or_si512(low, high))};
}
SELVAGE_INLINE F16 pair_words(BFloat16 const* even, BFloat16 const* odd, std::int64_t count) {
    __mmask16 const mask = first_lanes(count);
    __m512i const low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even));
    __m512i const high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, odd)), 16);
    return {_mm512_castsi512_ps(_mm512_or_si512(low, high))};
}
SELVAGE_INLINE F16 row_words(F16 first, F16 second) {
    __m512i const low = _mm512_castsi256_si512(rounded_bf16(first));
    return {_mm512_castsi512_ps(_mm512_inserti64x4(low, rounded_bf16(second), 1))};
}
#else
SELVAGE_INLINE F16 row_words(F16 first, F16 second) {
    BFloat16 row[2 * lanes];
    store(row, first);
    store(row + lanes, second);
    float words[lanes];
    __builtin_memcpy(words, row, sizeof row);
    return load(words);
}
SELVAGE_INLINE F16 pair_words(F16 even, F16 odd) {
    BFloat16 row[2 * lanes];
    BFloat16 pairs[2 * lanes];
    store(row, even);
    store(row + lanes, odd);
    for (int i = 0; i < lanes; ++i) {
        pairs[2 * i] = row[i];
        pairs[2 * i + 1] = row[lanes + i];
    }
    float words[lanes];
    __builtin_memcpy(words, pairs, sizeof pairs);
    return load(words);
}
#endif
#if !defined(SELVAGE_SIMD_AVX512)
SELVAGE_INLINE F16 pair_words(BFloat16 const* even, BFloat16 const* odd, std::int64_t count) {
    return pair_words(load(even, count), load(odd, count));
}
#endif
SELVAGE_INLINE F16 pair_words(float const* even, float const* odd, std::int64_t count) {
    return pair_words(load(even, count), load(odd, count));
}
// Past the caches, where the processor has such a store; p is aligned to 64 bytes. Other threads see it after the end.
#if defined(SELVAGE_SIMD_AVX512)
SELVAGE_INLINE void store_through(float* p, F16 a) { _mm512_stream_ps(p, a.v); }
SELVAGE_INLINE void end_store_through() { _mm_sfence(); }
#else
SELVAGE_INLINE void store_through(float* p, F16 a) { store(p, a); }
SELVAGE_INLINE void end_store_through() {}
#endif
// Into the second cache level, for a read soon.
SELVAGE_INLINE void prefetch(void const* p) { __builtin_prefetch(p, 0, 2); }

// To memory past the caches; p is aligned to 64 bytes. Other threads see it after finish_streaming().
#if defined(SELVAGE_SIMD_AVX512)
SELVAGE_INLINE void store_streaming(float* p, F16 a) { _mm512_stream_ps(p, a.v); }
SELVAGE_INLINE void finish_streaming() { _mm_sfence(); }
#elif defined(SELVAGE_SIMD_AVX2)
SELVAGE_INLINE void store_streaming(float* p, F16 a) {
    _mm256_stream_ps(p, a.low);
    _mm256_stream_ps(p + 8, a.high);
}
SELVAGE_INLINE void finish_streaming() { _mm_sfence(); }
#else
SELVAGE_INLINE void store_streaming(float* p, F16 a) { store(p, a); }
SELVAGE_INLINE void finish_streaming() {}
#endif

// Tile registers of 16 rows of 64 bytes: products of [16, 32] by [32, 16] (as pairs of rows) bfloat16 into [16, 16]
// floats. Intel's definition of TDPBF16PS: even and odd elements in a chain each, then their sum is added to the
// accumulator.
#if defined(SELVAGE_SIMD_AMX)
struct alignas(64) TileShape {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// The tile registers of this thread, from construction to destruction.
struct TileRegisters {
    TileRegisters() : TileRegisters(lanes) {}
    // Registers 0 to 4 have fewer rows: accumulators and the left factor of a product of few rows.
    explicit TileRegisters(std::int64_t rows) {
        TileShape shape;
        for (int i = 0; i < 5; ++i) shape.rows[i] = static_cast<std::uint8_t>(rows);
        __asm__ volatile("ldtilecfg %0" ::"m"(shape));  // the intrinsic reads but eight bytes, says GCC 12
    }
    ~TileRegisters() { _tile_release(); }
    TileRegisters(TileRegisters const&) = delete;
    TileRegisters& operator=(TileRegisters const&) = delete;
};
// Own statements, as the intrinsics take no template's number and do not say that they read memory. Strides in bytes.
template <int Tile>
SELVAGE_INLINE void tile_zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
SELVAGE_INLINE void tile_load(void const* p, std::int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
SELVAGE_INLINE void tile_store(void* p, std::int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(Tile) : "memory");
}
// Tile += A B
template <int Tile, int A, int B>
SELVAGE_INLINE void tile_product() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Tile), "i"(A), "i"(B));
}
#else
struct TileRegisters {
    explicit TileRegisters(std::int64_t = lanes) {}
    ~TileRegisters() {}
};
#endif

SELVAGE_INLINE float larger(float a, float b) { return a > b ? a : b; }

// exp(x - n ln 2).
SELVAGE_INLINE F16 exp_polynomial(F16 const& x, F16 const& n) {
    F16 r = fma(n, set(-0.693359375F), x);
    r = fma(n, set(2.12194440e-4F), r);
    F16 p = set(1.9875691500e-4F);
    p = fma(p, r, set(1.3981999507e-3F));
    p = fma(p, r, set(8.3334519073e-3F));
    p = fma(p, r, set(4.1665795894e-2F));
    p = fma(p, r, set(1.6666665459e-1F));
    p = fma(p, r, set(5.0000001201e-1F));
    return fma(p, r * r, r) + set(1.0F);
}

// exp in about 1 ulp: x = n ln 2 + r, Taylor-like polynomial of degree 6 in r (Moshier, Cephes expf), times 2^n.
// exp(0) = 1 exactly; exactly 0 below -87.33 (results under the smallest normal number), infinite above 88.72.
SELVAGE_INLINE F16 exp(F16 const& x) {
    F16 const magic = set(12582912.0F);
    F16 const rounded = fma(x, set(1.44269504088896341F), magic);
    F16 y = scale_by_power(exp_polynomial(x, rounded - magic), rounded);
    y = where_less(x, set(-87.33F), set(0.0F), y);
    return where_less(set(88.72F), x, set(__builtin_inff()), y);
}

// 2^x for x <= 1, in 4e-6 (minimax polynomial of degree 4); 2^0 = 1 exactly; exactly 0 below -126.
SELVAGE_INLINE F16 exp2_coarse(F16 x) {
    F16 const magic = set(12582912.0F);
    F16 const rounded = x + magic;
    F16 const r = x - (rounded - magic);
    F16 p = set(9.7829125629e-3F);
    p = fma(p, r, set(5.5976883632e-2F));
    p = fma(p, r, set(2.4020711079e-1F));
    p = fma(p, r, set(6.9311360440e-1F));
    p = fma(p, r, set(1.0F));
    return shift_exponent(p, rounded, x, set(-126.0F));
}

SELVAGE_INLINE float exp_scalar(float x) {
    float result[lanes];
    store(result, exp(set(x)));
    return result[0];
}

// log of a positive normal number in about 1 ulp (Moshier, Cephes logf).
[[maybe_unused]] float log_scalar(float x) {
    std::uint32_t const bits = bits_of(x);
    std::int32_t exponent = static_cast<std::int32_t>(bits >> 23) - 126;
    float m = float_of((bits & 0x007fffffU) | 0x3f000000U);  // in [0.5, 1)
    if (m < 0.707106781186547524F) {
        --exponent;
        m = m + m;
    }
    m = m - 1.0F;
    float const e = static_cast<float>(exponent);
    float const z = m * m;
    float p = 7.0376836292e-2F;
    constexpr float coefficients[] = {-1.1514610310e-1F, 1.1676998740e-1F, -1.2420140846e-1F, 1.4249322787e-1F,
                                      -1.6668057665e-1F, 2.0000714765e-1F, -2.4999993993e-1F, 3.3333331174e-1F};
    for (float const c : coefficients) p = __builtin_fmaf(p, m, c);
    float y = m * z * p;
    y = __builtin_fmaf(e, -2.12194440e-4F, y);
    y = __builtin_fmaf(-0.5F, z, y);
    return __builtin_fmaf(e, 0.693359375F, m + y);
}

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

// 2^n of x = 12583039 + n (1.5 2^23 and the exponent's bias), -126 <= n <= 127.
#if defined(SELVAGE_SIMD_AVX512)
SELVAGE_INLINE F16 power_of_two(F16 x) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x.v), 23))};
}
#elif defined(SELVAGE_SIMD_AVX2)
SELVAGE_INLINE F16 power_of_two(F16 x) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.low), 23)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.high), 23))};
}
#else
SELVAGE_INLINE F16 power_of_two(F16 x) { return {reinterpret_cast<Vector>(reinterpret_cast<Bits>(x.v) << 23)}; }
#endif

// exp(x) of x <= 0, with the bits of exp() (no x lies half-way between two n), in fewer operations.
SELVAGE_INLINE F16 exp_of_negative(F16 const& x) {
    F16 const magic = set(12583039.0F);
    F16 const rounded = fma(x, set(1.44269504088896341F), magic);
    F16 const p = exp_polynomial(x, rounded - magic);
    return where_less(x, set(-87.33F), set(0.0F), p * power_of_two(rounded));
}

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#pragma once
// F16: a logical vector of 16 floats, by AVX-512, by AVX2 or portably, with the same bits from each: every operation is
// IEEE's correctly rounded one, and sums over lanes follow one tree.
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

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

#if defined(SELVAGE_SIMD_AVX512)
#include "kernels/cpu/simd/avx512.h"
#elif defined(SELVAGE_SIMD_AVX2)
#include "kernels/cpu/simd/avx2.h"
#else
#include "kernels/cpu/simd/portable.h"
#endif

namespace selvage::kernels::SELVAGE_ISA {
namespace {

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

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs of bfloat16: products, and putting them together.
#include "kernels/cpu/simd/vector.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

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

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

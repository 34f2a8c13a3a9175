// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sixteen vectors as a square: sums of each, and the transpose.
#include "kernels/cpu/simd/vector.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

// Lane i: reduce_add(x[i]), reduce_max(x[i]) for the first `count`, with the same trees; x is used up.
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
SELVAGE_INLINE F16 tree_add_each(F16 const (&x)[lanes]) {
    return reduce_each(
        x, [](F16 a, F16 b) __attribute__((always_inline)) { return a + b; });
}
SELVAGE_INLINE F16 tree_max_each(F16 const (&x)[lanes]) {
    return reduce_each(
        x, [](F16 a, F16 b) __attribute__((always_inline)) { return max(a, b); });
}
#endif
SELVAGE_INLINE F16 reduce_add_each(F16 (&x)[lanes], std::int64_t count) {
#if defined(SELVAGE_SIMD_AVX512)
    if (count > 4) {
        for (std::int64_t i = count; i < lanes; ++i) x[i] = set(0.0F);
        return tree_add_each(x);
    }
#endif
    float sums[lanes] = {};
    for (std::int64_t i = 0; i < count; ++i) sums[i] = reduce_add(x[i]);
    return load(sums);
}
SELVAGE_INLINE F16 reduce_max_each(F16 (&x)[lanes], std::int64_t count) {
#if defined(SELVAGE_SIMD_AVX512)
    if (count > 4) {
        for (std::int64_t i = count; i < lanes; ++i) x[i] = set(0.0F);
        return tree_max_each(x);
    }
#endif
    float largest[lanes] = {};
    for (std::int64_t i = 0; i < count; ++i) largest[i] = reduce_max(x[i]);
    return load(largest);
}

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

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

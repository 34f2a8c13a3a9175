// SPDX-License-Identifier: Apache-2.0
#pragma once
// exp and log of our own, the same bits on every instruction set.
#include "kernels/cpu/simd/vector.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

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

// tanh in about 1 ulp: an odd polynomial near 0 (Moshier, Cephes tanhf), 1 - 2 / (exp(2 x) + 1) elsewhere.
SELVAGE_INLINE F16 tanh(F16 const& x) {
    F16 const magnitude = max(x, set(0.0F) - x);
    F16 const square = x * x;
    F16 p = set(-5.70498872745e-3F);
    p = fma(p, square, set(2.06390887954e-2F));
    p = fma(p, square, set(-5.37397155531e-2F));
    p = fma(p, square, set(1.33314422036e-1F));
    p = fma(p, square, set(-3.33332819422e-1F));
    F16 const near = fma(p * square, x, x);
    F16 const far = set(1.0F) - set(2.0F) / (exp(magnitude + magnitude) + set(1.0F));
    return where_less(magnitude, set(0.625F), near, where_less(x, set(0.0F), set(0.0F) - far, far));
}

// cap tanh(x / cap), and its derivative where the result is y.
SELVAGE_INLINE F16 softcap(F16 const& x, float cap) { return set(cap) * tanh(x * set(1.0F / cap)); }
SELVAGE_INLINE F16 softcap_slope(F16 const& y, float cap) {
    F16 const share = y * set(1.0F / cap);
    return fma(set(0.0F) - share, share, set(1.0F));
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

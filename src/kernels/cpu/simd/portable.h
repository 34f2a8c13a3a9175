// SPDX-License-Identifier: Apache-2.0
#pragma once
// F16 by the vector extension that GCC and Clang have for any processor; included by vector.h.
namespace selvage::kernels::SELVAGE_ISA {
namespace {

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

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

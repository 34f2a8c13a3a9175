// SPDX-License-Identifier: Apache-2.0
#pragma once
// The part of CUDA's language that kernels use, for the host compiler.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SELVAGE_SANITIZED 1
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#ifdef SELVAGE_SANITIZED  // sanitizers do not watch the bounds of thread_local objects
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

#define SELVAGE_VECTOR_TYPE(name, element, alignment) \
    struct alignas(alignment) name##2 {               \
        element x, y;                                 \
    };                                                \
    inline name##2 make_##name##2(element x, element y) { return {x, y}; }
#define SELVAGE_VECTOR_TYPE_4(name, element) \
    struct alignas(16) name##4 {             \
        element x, y, z, w;                  \
    };                                       \
    inline name##4 make_##name##4(element x, element y, element z, element w) { return {x, y, z, w}; }
SELVAGE_VECTOR_TYPE(float, float, 8)
SELVAGE_VECTOR_TYPE(double, double, 16)
SELVAGE_VECTOR_TYPE(int, int, 8)
SELVAGE_VECTOR_TYPE(uint, unsigned, 8)
SELVAGE_VECTOR_TYPE_4(float, float)
SELVAGE_VECTOR_TYPE_4(int, int)
SELVAGE_VECTOR_TYPE_4(uint, unsigned)
#undef SELVAGE_VECTOR_TYPE
#undef SELVAGE_VECTOR_TYPE_4

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
    unsigned x, y, z;
};

namespace selvage::emulation {

// Where the running thread of a kernel is.
struct Place {
    uint3 thread{}, block{};
    dim3 block_size, grid_size;
};
inline constinit thread_local Place const* here = nullptr;

}  // namespace selvage::emulation

#define threadIdx (::selvage::emulation::here->thread)
#define blockIdx (::selvage::emulation::here->block)
#define blockDim (::selvage::emulation::here->block_size)
#define gridDim (::selvage::emulation::here->grid_size)
inline constexpr int warpSize = 32;

template <class T>
requires std::is_arithmetic_v<T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
requires std::is_arithmetic_v<T>
constexpr T max(T a, T b) { return a < b ? b : a; }
inline float rsqrtf(float x) { return 1.0F / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(unsigned x) { return std::countl_zero(x); }
inline int __clzll(unsigned long long x) { return std::countl_zero(x); }
inline int __ffs(unsigned x) { return x == 0 ? 0 : std::countr_zero(x) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<unsigned long long>((static_cast<Wide>(a) * b) >> 64);
}

// Of integers only: their sums do not depend on the order.
template <class T>
requires std::is_integral_v<T> T atomicAdd(T* to, T value) { return __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

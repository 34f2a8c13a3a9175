// SPDX-License-Identifier: Apache-2.0
#pragma once
// Elements of activations, one, four or eight at a time. Addresses are aligned to their size, at most to 16 bytes.
#include <cstdint>

#include "device/cuda/launch.h"
#include "tensor/dtype.h"

namespace selvage::kernels::cuda {

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

// Two bfloat16 in one register, the first one in the lower half; to the nearest, ties to even.
__device__ inline unsigned round_pair(float low, float high) {
#ifdef __CUDA_ARCH__
    unsigned pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    auto const rounded = [](float x) {
        unsigned const bits = __float_as_uint(x);
        if (x != x) return 0x7fffU;
        return (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
    };
    return rounded(low) | rounded(high) << 16;
#endif
}

template <class E>
__device__ E narrow(float x) {
    if constexpr (sizeof(E) == sizeof(float))
        return x;
    else
        return {static_cast<std::uint16_t>(round_pair(x, 0.0F) & 0xffffU)};
}

// Consecutive elements, widened.
template <int width>
struct Vector {
    static_assert(width == 1 || width == 4 || width == 8);
    float values[width];
    __device__ float& operator[](int i) { return values[i]; }
    __device__ float operator[](int i) const { return values[i]; }
};

__device__ inline void unpack(float* to, unsigned pair) {
    to[0] = __uint_as_float(pair << 16);
    to[1] = __uint_as_float(pair & 0xffff0000U);
}

template <int width, class E>
__device__ Vector<width> load(E const* from) {
    Vector<width> x;
    if constexpr (width == 1) {
        x[0] = widen(*from);
    } else if constexpr (sizeof(E) == sizeof(float)) {
#pragma unroll
        for (int i = 0; i < width; i += 4) {
            float4 const four = *reinterpret_cast<float4 const*>(from + i);
            x[i] = four.x, x[i + 1] = four.y, x[i + 2] = four.z, x[i + 3] = four.w;
        }
    } else if constexpr (width == 4) {
        uint2 const pairs = *reinterpret_cast<uint2 const*>(from);
        unpack(x.values, pairs.x), unpack(x.values + 2, pairs.y);
    } else {
        uint4 const pairs = *reinterpret_cast<uint4 const*>(from);
        unpack(x.values, pairs.x), unpack(x.values + 2, pairs.y);
        unpack(x.values + 4, pairs.z), unpack(x.values + 6, pairs.w);
    }
    return x;
}
template <int width, class E>
__device__ void store(E* to, Vector<width> const& x) {
    if constexpr (width == 1) {
        *to = narrow<E>(x[0]);
    } else if constexpr (sizeof(E) == sizeof(float)) {
#pragma unroll
        for (int i = 0; i < width; i += 4)
            *reinterpret_cast<float4*>(to + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
    } else if constexpr (width == 4) {
        *reinterpret_cast<uint2*>(to) = make_uint2(round_pair(x[0], x[1]), round_pair(x[2], x[3]));
    } else {
        *reinterpret_cast<uint4*>(to) =
            make_uint4(round_pair(x[0], x[1]), round_pair(x[2], x[3]), round_pair(x[4], x[5]), round_pair(x[6], x[7]));
    }
}

// On the host: vectors of so many bytes, at most 16, may begin at all of these addresses.
template <class... T>
bool aligned_for(std::size_t bytes, T const*... addresses) {
    std::size_t const alignment = bytes < 16 ? bytes : 16;
    return ((reinterpret_cast<std::uintptr_t>(addresses) % alignment == 0) && ...);
}

}  // namespace selvage::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Elements of activations, one or four at a time. Four fp32 lie in 16 bytes, four bfloat16 in 8; addresses are aligned
// so.
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

// One or four consecutive elements, widened.
template <int width>
struct Vector {
    static_assert(width == 1 || width == 4);
    float values[width];
    __device__ float& operator[](int i) { return values[i]; }
    __device__ float operator[](int i) const { return values[i]; }
};

template <int width, class E>
__device__ Vector<width> load(E const* from) {
    if constexpr (width == 1) {
        return {{widen(*from)}};
    } else if constexpr (sizeof(E) == sizeof(float)) {
        float4 const x = *reinterpret_cast<float4 const*>(from);
        return {{x.x, x.y, x.z, x.w}};
    } else {
        uint2 const pairs = *reinterpret_cast<uint2 const*>(from);
        return {{__uint_as_float(pairs.x << 16), __uint_as_float(pairs.x & 0xffff0000U), __uint_as_float(pairs.y << 16),
                 __uint_as_float(pairs.y & 0xffff0000U)}};
    }
}
template <int width, class E>
__device__ void store(E* to, Vector<width> const& x) {
    if constexpr (width == 1)
        *to = narrow<E>(x[0]);
    else if constexpr (sizeof(E) == sizeof(float))
        *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
    else
        *reinterpret_cast<uint2*>(to) = make_uint2(round_pair(x[0], x[1]), round_pair(x[2], x[3]));
}

}  // namespace selvage::kernels::cuda

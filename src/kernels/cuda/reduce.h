// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reductions over a warp and a block, in an order that depends on nothing but the number of threads.
#include "device/cuda/launch.h"

namespace selvage::kernels::cuda {

constexpr unsigned all_lanes = 0xffffffffU;

// Every lane gets the result; a tree of lanes 16, 8, 4, 2, 1 apart. Whole warps only.
template <class T, class Combine>
__device__ T over_warp(T value, Combine combine) {
    for (int apart = 16; apart > 0; apart /= 2) value = combine(value, __shfl_xor_sync(all_lanes, value, apart));
    return value;
}

// Every thread gets the result: the warps' results by warp_results[0] on, in the same tree. All threads of a
// one-dimensional block of whole warps must call it. `warp_results` is shared memory for 32 values that nobody else
// uses between the __syncthreads() before and the one after.
template <class T, class Combine>
__device__ T over_block(T value, T identity, T* warp_results, Combine combine) {
    value = over_warp(value, combine);
    unsigned const warps = blockDim.x / 32;
    if (warps == 1) return value;
    unsigned const lane = threadIdx.x % 32;
    if (lane == 0) warp_results[threadIdx.x / 32] = value;
    __syncthreads();
    return over_warp(lane < warps ? warp_results[lane] : identity, combine);
}

struct Sum {
    template <class T>
    __device__ T operator()(T a, T b) const {
        return a + b;
    }
};
struct Largest {
    template <class T>
    __device__ T operator()(T a, T b) const {
        return a < b ? b : a;
    }
};

}  // namespace selvage::kernels::cuda

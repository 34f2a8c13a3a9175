// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/cuda/launch.h"

namespace selvage::kernels::cuda {

// cap tanh(x / cap), and its derivative where the result is y.
__device__ inline float softcap(float x, float cap) { return cap * tanhf(x * (1.0F / cap)); }
__device__ inline float softcap_slope(float y, float cap) {
    float const share = y * (1.0F / cap);
    return fmaf(-share, share, 1.0F);
}

}  // namespace selvage::kernels::cuda

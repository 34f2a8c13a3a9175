// SPDX-License-Identifier: Apache-2.0
#pragma once
// The weights that tokens are drawn by (kernels/sampling.h), and walking along them.
#include "kernels/cuda/reduce.h"

namespace selvage::kernels::cuda {

using Whole = long long;

// 0 for a logit that is not a number.
__device__ inline float weight_of(float logit, float max, float temperature) {
    float const power = expf((logit - max) / temperature);
    return power >= 0.0F ? truncf(fminf(power, 1.0F) * 0x1p40F) : 0.0F;
}
__device__ inline Whole whole(float weight) { return static_cast<Whole>(weight); }

struct Crossing {
    std::int64_t index;
    Whole target;  // less what is before
};
// For a warp: the first of `count` items at which the sum of value(i) up to and with it exceeds `target`; index
// `count` where none does. Every lane gets it.
template <class Value>
__device__ Crossing find_crossing(std::int64_t count, Whole target, Value const& value) {
    unsigned const lane = threadIdx.x % 32;
    std::int64_t const each = (count + 31) / 32;
    std::int64_t const first = min(lane * each, count), end = min(first + each, count);
    Whole sum = 0;
    for (std::int64_t i = first; i < end; ++i) sum += value(i);
    Whole up_to = sum;
    for (int apart = 1; apart < 32; apart *= 2) {
        Whole const before = __shfl_up_sync(all_lanes, up_to, static_cast<unsigned>(apart));
        if (lane >= static_cast<unsigned>(apart)) up_to += before;
    }
    unsigned const exceeding = __ballot_sync(all_lanes, up_to > target ? 1 : 0);
    if (exceeding == 0) return {count, 0};
    int const found = __ffs(exceeding) - 1;
    Whole rest = target - (up_to - sum);
    std::int64_t index = first;
    if (static_cast<int>(lane) == found)
        for (Whole here = value(index); rest >= here; here = value(++index)) rest -= here;
    return {__shfl_sync(all_lanes, index, found), __shfl_sync(all_lanes, rest, found)};
}

}  // namespace selvage::kernels::cuda

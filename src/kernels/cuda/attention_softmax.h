// SPDX-License-Identifier: Apache-2.0
#pragma once
// Online softmax, in powers of 2: what is the same for both element types. Scores are in units of log2(e) here.
#include "device/cuda/launch.h"
#include "kernels/cuda/attention_work.h"

namespace selvage::kernels::cuda {

constexpr float log2_e = 1.44269504088896341F;
constexpr float ln_2 = 0.693147180559945309F;

__device__ inline float minus_infinity() { return -__uint_as_float(0x7f800000U); }

struct Shrinks {
    float total, split;
};

struct SoftmaxState {
    float max = minus_infinity();
    float sum = 0;

    // Takes a page's largest score; returns what the sum and values so far shrink by.
    __device__ float raise(float largest) {
        float const old = max;
        max = old < largest ? largest : old;
        return exp2f(old - max);
    }
    // Adds the state of a later split; values follow by merged().
    __device__ Shrinks merge(SoftmaxState const& split) {
        float const new_max = max < split.max ? split.max : max;
        Shrinks const shrinks{exp2f(max - new_max), exp2f(split.max - new_max)};
        sum = fmaf(sum, shrinks.total, split.sum * shrinks.split);
        max = new_max;
        return shrinks;
    }
    __device__ float log_sum_exp() const { return fmaf(max, ln_2, logf(sum)); }
};

__device__ inline float merged(float total, float split, Shrinks const& shrinks) {
    return fmaf(total, shrinks.total, split * shrinks.split);
}

// Row and head of a pair, as an index of [rows, heads].
template <class E>
__device__ std::int64_t place_of(ForwardWork<E> const& work, ForwardTile const& tile, int kv_head, int pair) {
    int const group = work.heads / work.kv_heads;
    int const at = tile.first_pair + pair;
    std::int64_t const row = tile.first_row + at / group;
    return row * work.heads + kv_head * group + at % group;
}
template <class E>
__device__ int position_of(ForwardWork<E> const& work, ForwardTile const& tile, int pair) {
    return tile.first_position + (tile.first_pair + pair) / (work.heads / work.kv_heads);
}

// A page's keys of one head [64, head_size]; its values lie values_offset() further.
template <class E>
__device__ E const* keys_of(ForwardWork<E> const& work, ForwardTile const& tile, int page, int kv_head) {
    std::int64_t const heads_at = 2 * std::int64_t{work.page_tables[tile.table + page]} * work.kv_heads + kv_head;
    return work.pages + heads_at * (work.head_size * page_tokens);
}
template <class E>
__device__ std::int64_t values_offset(ForwardWork<E> const& work) {
    return std::int64_t{work.kv_heads} * work.head_size * page_tokens;
}

}  // namespace selvage::kernels::cuda

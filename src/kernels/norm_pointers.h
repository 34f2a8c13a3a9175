// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the loops of norms work on, in every backend.
#include <cstdint>

namespace selvage::kernels {

// A norm over rows of `hidden`.
template <class E>
struct NormForward {
    E* out = nullptr;
    float* mean = nullptr;  // null: not kept
    float* rstd = nullptr;  // null: not kept
    float* sum = nullptr;   // where there is a branch: in + branch, which is what is normed
    float const* in = nullptr;
    float const* branch = nullptr;
    float const* weight = nullptr;
    float const* bias = nullptr;  // layer norm only
    float epsilon = 0;
    std::int64_t hidden = 0;
};
template <class E>
struct NormBackward {
    float* d_in = nullptr;
    E* d_in_compute = nullptr;  // d_in rounded to E; or null
    bool add = false;           // to d_in
    float* d_weight = nullptr;
    float* d_bias = nullptr;
    float const* d_out = nullptr;
    float const* in = nullptr;
    float const* mean = nullptr;  // layer norm only, as d_bias
    float const* rstd = nullptr;
    float const* weight = nullptr;
    std::int64_t hidden = 0;
};

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the loops of norms work on, in every backend.
#include <cstdint>

namespace selvage::kernels {

// A norm over rows of `hidden`, of numbers of type In.
template <class E, class In = float>
struct NormForward {
    E* out = nullptr;
    float* mean = nullptr;  // null: not kept
    float* rstd = nullptr;  // null: not kept
    float* sum = nullptr;   // where there is a branch: in + branch, which is what is normed
    In const* in = nullptr;
    float const* branch = nullptr;
    float const* weight = nullptr;
    float offset = 0;             // added to the weight; RMS norm only
    float const* bias = nullptr;  // layer norm only
    float epsilon = 0;
    std::int64_t hidden = 0;
};
template <class E, class In = float>
struct NormBackward {
    float* d_in = nullptr;      // or null, then d_in_compute is given and `add` false
    E* d_in_compute = nullptr;  // d_in rounded to E; or null
    bool add = false;           // to d_in
    float* d_weight = nullptr;
    float* d_bias = nullptr;
    In const* d_out = nullptr;
    In const* in = nullptr;
    float const* mean = nullptr;  // layer norm only, as d_bias
    float const* rstd = nullptr;
    float const* weight = nullptr;
    float offset = 0;
    std::int64_t hidden = 0;
};

}  // namespace selvage::kernels

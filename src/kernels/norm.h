// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/device.h"
#include "kernels/accumulate.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// What RMS norm multiplies by: value [hidden], or that and `offset`, which is 0 or 1.
struct NormWeight {
    NormWeight(TensorView value_, float offset_ = 0) : value(value_), offset(offset_) {}
    TensorView value;
    float offset;
};

// Row-wise, in[rows, hidden]; the sum over a row goes in a fixed order (on the CPU 16 lanes, then their tree), in fp32.
// All tensors are f32 but for `out` and `d_in_compute`, which are f32 or bf16. RMS norm also takes rows in bf16, as
// those of heads are: then `in`, `out`, `d_out` and `d_in_compute` are bf16, there is no branch, and d_in is empty.
//
// Forward: where `branch` is given, sum = in + branch is written and is what is normed, in one pass over memory; else
// both are empty and `in` is. `sum` may be `in` or `branch` itself. `mean` and `rstd` [rows] are kept for the backward
// pass; they may be empty.
// Backward: `in` is what was normed. d_in = or +=; d_in_compute is then d_in, rounded to its type; it may be empty.
// d_weight and d_bias [hidden] +=, in row order (on a GPU by chunks of rows). No output may be d_out or in.

// Root mean square: out = in / sqrt(mean(in^2) + epsilon) * weight. d_weight is that of the value. Zhang and Sennrich
// 2019.
void rmsnorm_forward(TensorView out, TensorView rstd, TensorView sum, TensorView in, TensorView branch,
                     NormWeight const& weight, float epsilon, Stream& stream);
void rmsnorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                      TensorView d_out, TensorView in, TensorView rstd, NormWeight const& weight, Stream& stream);

// Ba et al. 2016, with weight and bias [hidden].
void layernorm_forward(TensorView out, TensorView mean, TensorView rstd, TensorView sum, TensorView in,
                       TensorView branch, TensorView weight, TensorView bias, float epsilon, Stream& stream);
void layernorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                        TensorView d_bias, TensorView d_out, TensorView in, TensorView mean, TensorView rstd,
                        TensorView weight, Stream& stream);

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// Row-wise; the sum over a row goes in a fixed order (16 lanes, then their tree), in fp32.
// Root mean square: out = in / sqrt(mean(in^2) + epsilon) * weight.  rstd[rows] is kept for the backward pass (may be
// empty in inference). Zhang and Sennrich 2019.
void rmsnorm_forward(TensorView out, TensorView rstd, TensorView in, TensorView weight, float epsilon, Stream& stream);
// d_in = (overwrites), d_weight += (in row order).
void rmsnorm_backward(TensorView d_in, TensorView d_weight, TensorView d_out, TensorView in, TensorView rstd,
                      TensorView weight, Stream& stream);

// Ba et al. 2016, with weight and bias [hidden]; mean[rows] and rstd[rows] are kept (may be empty).
void layernorm_forward(TensorView out, TensorView mean, TensorView rstd, TensorView in, TensorView weight,
                       TensorView bias, float epsilon, Stream& stream);
void layernorm_backward(TensorView d_in, TensorView d_weight, TensorView d_bias, TensorView d_out, TensorView in,
                        TensorView mean, TensorView rstd, TensorView weight, Stream& stream);

}  // namespace selvage::kernels

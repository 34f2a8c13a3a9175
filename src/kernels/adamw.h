// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// One step's constants. Loshchilov and Hutter 2019 (decoupled weight decay).
struct AdamWStep {
    float learning_rate = 0;
    float beta1 = 0.9F;
    float beta2 = 0.95F;
    float epsilon = 1e-8F;
    float weight_decay = 0;
    float gradient_scale = 1;  // clipping and normalisation, applied to the gradient first
    std::int64_t step = 1;     // counts from 1, for the bias correction
};

// All four [n] f32, n a multiple of 16: every element by the same vector code. Updates values and moments in place.
void adamw_update(TensorView values, TensorView first_moment, TensorView second_moment, TensorView gradient,
                  AdamWStep const& step, Stream& stream);

// out[b] (host, doubles) = sum of squares of block b of values[n], blocks of `block` elements, in fp64 in a fixed
// order.
void block_sums_of_squares(double* out, TensorView values, std::int64_t block, Stream& stream);

}  // namespace selvage::kernels

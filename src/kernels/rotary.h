// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

struct RotaryOptions {
    double base = 10000.0;
    std::int64_t rotated = 0;  // leading dims of each head that are turned (even); the others pass through
};

// In place on x[rows, heads, head_size], f32 or bf16; positions i32 [rows] count from the example's first token. Dim i
// is paired with dim i + rotated/2 (the GPT-NeoX and Llama-in-transformers convention). Su et al. 2021.
void rotary_forward(TensorView x, TensorView positions, RotaryOptions const& options, Stream& stream);
// The inverse turn, on gradients.
void rotary_backward(TensorView d_x, TensorView positions, RotaryOptions const& options, Stream& stream);

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

enum class Gate : std::uint8_t { silu, gelu };  // gelu: the tanh form, Hendrycks and Gimpel 2016

// out = gate_function(gate) * up, elementwise (SwiGLU, GeGLU; Shazeer 2020).
void gated_forward(TensorView out, TensorView gate, TensorView up, Gate function, Stream& stream);
// d_gate and d_up are overwritten and may alias gate and up.
void gated_backward(TensorView d_gate, TensorView d_up, TensorView d_out, TensorView gate, TensorView up, Gate function,
                    Stream& stream);

void gelu_forward(TensorView out, TensorView in, Stream& stream);
void gelu_backward(TensorView d_in, TensorView d_out, TensorView in, Stream& stream);

// to += from
void add_in_place(TensorView to, TensorView from, Stream& stream);
void fill(TensorView out, float value, Stream& stream);
// sums[n] += rows[m, n], in row order
void add_column_sums(TensorView sums, TensorView rows, Stream& stream);

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/device.h"
#include "kernels/gate.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// The tensors of an activation are all f32 or all bf16; arithmetic is fp32.
// out = gate_function(gate) * up, elementwise (SwiGLU, GeGLU; Shazeer 2020).
void gated_forward(TensorView out, TensorView gate, TensorView up, Gate function, Stream& stream);
// d_gate and d_up are overwritten and may alias gate and up.
void gated_backward(TensorView d_gate, TensorView d_up, TensorView d_out, TensorView gate, TensorView up, Gate function,
                    Stream& stream);

void gelu_forward(TensorView out, TensorView in, Gelu form, Stream& stream);
// d_in may be d_out or in.
void gelu_backward(TensorView d_in, TensorView d_out, TensorView in, Gelu form, Stream& stream);

// x = cap tanh(x / cap), in place; f32.
void softcap_forward(TensorView x, float cap, Stream& stream);
// d_x (f32 or bf16), the gradient of what softcap_forward() made, `capped` (f32), becomes that of what it was given.
void softcap_backward(TensorView d_x, TensorView capped, float cap, Stream& stream);

// to += from, f32
void add_in_place(TensorView to, TensorView from, Stream& stream);
void scale_in_place(TensorView x, float factor, Stream& stream);    // x *= factor, f32
void add_to_rows(TensorView rows, TensorView row, Stream& stream);  // rows[m, n] += row[n], f32
void fill(TensorView out, float value, Stream& stream);             // f32
// sums[n] += rows[m, n], row after row (on a GPU by chunks of rows, then chunk after chunk); sums f32, rows f32 or
// bf16.
void add_column_sums(TensorView sums, TensorView rows, Stream& stream);
// out = in, between f32 and bf16 in either direction (rounded to the nearest, ties to even).
void convert(TensorView out, TensorView in, Stream& stream);

}  // namespace selvage::kernels

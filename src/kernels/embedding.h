// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// out[rows, hidden] = table[tokens[row], :], f32; tokens i32 [rows]. Tokens outside of the table (it may be a part of
// one) give zeros, and no gradient.
void embedding_forward(TensorView out, TensorView table, TensorView tokens, Stream& stream);
// d_table[tokens[row], :] += d_out[row, :], f32, in row order.
void embedding_backward(TensorView d_table, TensorView d_out, TensorView tokens, Stream& stream);

// out[i, :] = in[rows[i], :]; rows i32. Both are of one type, whichever.
void gather_rows(TensorView out, TensorView in, TensorView rows, Stream& stream);
// out[rows[i], :] = in[i, :]; every row at most once; the others stay.
void scatter_rows(TensorView out, TensorView in, TensorView rows, Stream& stream);

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// d_logits[row, :] = (softmax - onehot(targets[row])) * weight[row]: the gradient of sum(weight * -log p(target)).
// logits [rows, vocabulary] f32 and log_sum_exp, weight [rows] f32 as of kernels/softmax.h; targets i32 [rows].
// d_logits is f32 or bf16; in f32 it may be `logits` itself.
void cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            TensorView weight, Stream& stream);

}  // namespace selvage::kernels

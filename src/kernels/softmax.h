// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that turns logits into probabilities. One log-sum-exp for training, `score` and the sampler: over
// vocabulary blocks of 1024 in order (each block: its maximum, then 16 partial sums and their tree), blocks merged in
// order.
#include <cstdint>

#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

constexpr std::int64_t vocabulary_block = 1024;

// log_sum_exp[rows] of logits[rows, vocabulary].
void log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream& stream);
// out[row] = logits[row, targets[row]] - log_sum_exp[row]; targets i32.
void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            Stream& stream);
// out i32 [rows]: the largest logit of the first `ids` columns, ties to the lowest id.
void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream);

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Each file of this folder fills in what it implements.
#include "kernels/operations.h"

namespace selvage::kernels::cuda {

Operations const& operations();

void fill_activation(Operations& operations);
void fill_adamw(Operations& operations);
void fill_attention(Operations& operations);
void fill_attention_backward(Operations& operations);
void fill_cross_entropy(Operations& operations);
void fill_embedding(Operations& operations);
void fill_gemm(Operations& operations);
void fill_norm(Operations& operations);
void fill_rotary(Operations& operations);
void fill_sampling(Operations& operations);
void fill_softmax(Operations& operations);
void fill_vocabulary_shard(Operations& operations);

}  // namespace selvage::kernels::cuda

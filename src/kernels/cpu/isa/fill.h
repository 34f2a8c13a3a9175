// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/cpu/table.h"

namespace selvage::kernels::SELVAGE_ISA {

void fill_product(KernelTable& table);
void fill_product_bf16(KernelTable& table);
void fill_attention(KernelTable& table);
void fill_attention_backward(KernelTable& table);
void fill_attention_bf16(KernelTable& table);
void fill_attention_backward_bf16(KernelTable& table);
void fill_attention_store(KernelTable& table);
void fill_softmax(KernelTable& table);
void fill_sampling(KernelTable& table);
void fill_cross_entropy(KernelTable& table);
void fill_norm(KernelTable& table);
void fill_activation(KernelTable& table);
void fill_elementwise(KernelTable& table);

}  // namespace selvage::kernels::SELVAGE_ISA

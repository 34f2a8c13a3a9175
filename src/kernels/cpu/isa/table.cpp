// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"

#define SELVAGE_TEXT_OF(x) #x
#define SELVAGE_TEXT(x) SELVAGE_TEXT_OF(x)

namespace selvage::kernels::SELVAGE_ISA {

void fill_table(KernelTable& table);
void fill_table(KernelTable& table) {
    table.name = SELVAGE_TEXT(SELVAGE_ISA);
    fill_product(table);
    fill_product_bf16(table);
    fill_attention(table);
    fill_attention_backward(table);
    fill_attention_bf16(table);
    fill_attention_backward_bf16(table);
    fill_attention_store(table);
    fill_softmax(table);
    fill_sampling(table);
    fill_cross_entropy(table);
    fill_norm(table);
    fill_activation(table);
    fill_elementwise(table);
}

}  // namespace selvage::kernels::SELVAGE_ISA

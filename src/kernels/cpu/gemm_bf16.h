// SPDX-License-Identifier: Apache-2.0
#pragma once
// One matrix product of bfloat16 operands with fp32 sums.
#include <cstdint>

#include "tensor/tensor.h"

namespace selvage::kernels {

// c[m, n] = (or +=) a b (+ bias), b in panels.
struct Bf16Product {
    TensorView c;  // f32 or bf16
    BFloat16 const* a = nullptr;
    BFloat16 const* panels = nullptr;
    float const* bias = nullptr;  // [n] or null
    std::int64_t m = 0;
    std::int64_t n = 0;
    std::int64_t k = 0;
    bool a_transposed = false;   // a is stored [k, m], else [m, k]
    bool add = false;            // the product is finished first and then added to c
    bool write_through = false;  // c is large and not read again soon
};
void bf16_product(Bf16Product const& product);

// Elements of the packed form of b[k, n].
std::int64_t bf16_panel_elements(std::int64_t n, std::int64_t k);
// b(k, j) = from[k, j], bf16.
void bf16_pack_operand(BFloat16* panels, TensorView from);
// Of weight[n, k] (f32, rounded) the panels of b(k, j) = weight[j, k] and, unless null, those of b(k, j) = weight[k,
// j].
void bf16_pack_weight(BFloat16* panels, BFloat16* transposed_panels, TensorView weight);

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Kernels that take activations of either element type.
#include "tensor/tensor.h"

namespace selvage::kernels {

// Calls work.operator()<E>() with E = float or BFloat16, the elements of `activations`.
template <class Work>
void with_element(TensorView activations, Work const& work) {
    if (activations.dtype() == DType::bf16) return work.template operator()<BFloat16>();
    SELVAGE_CHECK(activations.dtype() == DType::f32, "activations in {}", name_of(activations.dtype()));
    work.template operator()<float>();
}

// Null where the tensor is left out.
template <class E>
E* optional(TensorView view) {
    return view.empty() ? nullptr : view.as<E>();
}

inline void check_same(TensorView a, TensorView b) {
    SELVAGE_CHECK(a.elements() == b.elements(), "shapes differ: {} and {}", a.shape().text(), b.shape().text());
}

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The arguments of matrix products, checked.
#include "tensor/tensor.h"

namespace selvage::kernels {

struct LinearSizes {
    std::int64_t m;
    std::int64_t n;
    std::int64_t k;
};
// Of in[m, k], out[m, n] and weight[n, k].
inline LinearSizes sizes_of(TensorView in, TensorView out, std::int64_t n, std::int64_t k) {
    std::int64_t const m = k == 0 ? 0 : in.elements() / k;
    SELVAGE_CHECK(n > 0 && k > 0 && in.elements() == m * k && out.elements() == m * n,
                  "{} and {} do not fit a weight of [{}, {}]", in.shape().text(), out.shape().text(), n, k);
    return {m, n, k};
}

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>

#include "kernels/gemm.h"

namespace selvage::test {

// One output of a product in f32 by the definition of kernels/README.md; value(i) = {a(i), b(i)}.
template <class Value>
float defined(std::int64_t k, Value const& value) {
    float total = 0;
    for (std::int64_t first = 0; first < k; first += kernels::gemm_k_block(k)) {
        float sum = 0;
        for (std::int64_t i = first; i < std::min(k, first + kernels::gemm_k_block(k)); ++i) {
            auto const [a, b] = value(i);
            sum = std::fma(a, b, sum);
        }
        total = first == 0 ? sum : total + sum;
    }
    return total;
}

}  // namespace selvage::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far numbers are from those of a reference.
#include <algorithm>
#include <cmath>
#include <span>

#include "tensor/tensor.h"

namespace selvage::test {

inline double largest(std::span<float const> values) {
    double out = 0;
    for (float const value : values) out = std::max(out, std::fabs(static_cast<double>(value)));
    return out;
}

// The largest difference.
inline double difference(std::span<float const> a, std::span<float const> b) {
    double out = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        double const d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        if (!(d <= out)) out = d;
    }
    return out;
}

inline std::span<float const> elements(TensorView view) {
    return {view.as<float>(), static_cast<std::size_t>(view.elements())};
}

}  // namespace selvage::test

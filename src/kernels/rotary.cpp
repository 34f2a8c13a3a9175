// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace selvage::kernels {

double RotaryOptions::frequency(std::int64_t pair) const {
    double const plain = std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(rotated));
    switch (stretch.kind) {
        case RotaryStretch::Kind::none:
            return plain;
        case RotaryStretch::Kind::linear:
            return plain / stretch.factor;
        case RotaryStretch::Kind::slow_ones:
            break;
    }
    double const turns = stretch.original * plain / (2 * std::numbers::pi);
    double const kept = std::clamp((turns - stretch.low) / (stretch.high - stretch.low), 0.0, 1.0);
    return (1 - kept) * plain / stretch.factor + kept * plain;
}

}  // namespace selvage::kernels

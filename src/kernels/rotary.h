// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <compare>

#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// How frequencies are stretched to longer contexts: not at all; all divided by `factor` (Chen et al. 2023); or only the
// slow ones (Llama 3), which make fewer than `low` turns in `original` positions, those with more than `high` turns
// stay, and between them both are mixed.
struct RotaryStretch {
    enum class Kind : std::uint8_t { none, linear, slow_ones };
    Kind kind = Kind::none;
    double factor = 1, low = 1, high = 4, original = 8192;
    auto operator<=>(RotaryStretch const&) const = default;
};

struct RotaryOptions {
    double base = 10000.0;
    std::int64_t rotated = 0;  // leading dims of each head that are turned (even); the others pass through
    RotaryStretch stretch = {};
    auto operator<=>(RotaryOptions const&) const = default;
    // Radians per position of dim `pair` and dim pair + rotated / 2.
    double frequency(std::int64_t pair) const;
};

// In place on x[rows, heads, head_size], f32 or bf16; positions i32 [rows] count from the example's first token. Dim i
// is paired with dim i + rotated/2 (the GPT-NeoX and Llama-in-transformers convention). Su et al. 2021.
void rotary_forward(TensorView x, TensorView positions, RotaryOptions const& options, Stream& stream);
// The inverse turn, on gradients.
void rotary_backward(TensorView d_x, TensorView positions, RotaryOptions const& options, Stream& stream);

}  // namespace selvage::kernels

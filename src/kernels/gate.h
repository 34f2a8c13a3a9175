// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace selvage::kernels {

// Functions of an MLP. gelu: the tanh form, Hendrycks and Gimpel 2016; gelu_erf: x times the normal distribution's
// function.
enum class Gate : std::uint8_t { silu, gelu, gelu_erf };
// The two of GELU.
enum class Gelu : std::uint8_t { tanh, erf };

}  // namespace selvage::kernels

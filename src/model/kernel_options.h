// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the kernels are told of the configuration, the same in forward and backward.
#include <cmath>

#include "kernels/activation.h"
#include "kernels/rotary.h"
#include "model/model_config.h"

namespace selvage {

inline kernels::RotaryOptions rotary_options(ModelConfig const& config) {
    return {config.rotary_base, rotated_dims(config)};
}

inline float attention_scale(ModelConfig const& config) {
    return static_cast<float>(1 / std::sqrt(static_cast<double>(config.head_size)));
}

inline kernels::Gate gate_function(ModelConfig const& config) {
    return config.activation == ActivationKind::swiglu ? kernels::Gate::silu : kernels::Gate::gelu;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the kernels are told of the configuration, the same in forward and backward.
#include <cmath>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "model/model_config.h"

namespace selvage {

inline kernels::RotaryStretch rotary_stretch(ModelConfig const& config) {
    using Kind = kernels::RotaryStretch::Kind;
    if (config.rotary_scaling == RotaryScaling::none) return {};
    return {config.rotary_scaling == RotaryScaling::linear ? Kind::linear : Kind::slow_ones,
            config.rotary_scaling_factor, config.rotary_low_frequency_factor, config.rotary_high_frequency_factor,
            static_cast<double>(config.rotary_original_context)};
}

inline kernels::RotaryOptions rotary_options(ModelConfig const& config) {
    return {config.rotary_base, rotated_dims(config), rotary_stretch(config)};
}

inline kernels::AttentionOptions attention_options(ModelConfig const& config, std::int64_t layer) {
    double const usual = 1 / std::sqrt(static_cast<double>(config.head_size));
    return {static_cast<float>(config.attention_scale == 0 ? usual : config.attention_scale),
            static_cast<float>(config.attention_softcap), sliding_window(config, layer)};
}

inline kernels::NormWeight norm_weight(ModelConfig const& config, TensorView weight) {
    return {weight, config.norm_offset ? 1.0F : 0.0F};
}

inline kernels::Gate gate_function(ModelConfig const& config) {
    if (config.activation == ActivationKind::swiglu) return kernels::Gate::silu;
    return config.activation == ActivationKind::geglu ? kernels::Gate::gelu : kernels::Gate::gelu_erf;
}

inline kernels::Gelu gelu_form(ModelConfig const& config) {
    return config.activation == ActivationKind::gelu ? kernels::Gelu::tanh : kernels::Gelu::erf;
}

// What the products leave becomes logits.
inline void finish_logits(ModelConfig const& config, TensorView logits, Stream& stream) {
    if (config.logit_softcap != 0) kernels::softcap_forward(logits, static_cast<float>(config.logit_softcap), stream);
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small model with what families of models have beside the usual.
#include "model/model_config.h"

namespace selvage::test {

// Gemma 2's. The window, of half of the layers, leaves out whole pages, and behind 530 tokens whole splits of keys.
inline ModelConfig as_gemma2(ModelConfig config) {
    config.activation = ActivationKind::geglu;
    config.norm_offset = config.post_norm = true;
    config.embedding_scale = 8;
    config.attention_scale = 0.3;
    config.attention_softcap = 2;
    config.logit_softcap = 5;
    config.sliding_window = 17;
    config.sliding_period = 2;
    return config;
}

// Qwen 3's, with Qwen 2's biases, a gated GELU by the error function, Llama 3's rotation and a window in all layers.
inline ModelConfig as_qwen3(ModelConfig config) {
    config.activation = ActivationKind::geglu_erf;
    config.tied = false;
    config.query_key_norm = config.attention_bias = true;
    config.sliding_window = 100;
    config.rotary_scaling = RotaryScaling::llama3;
    config.rotary_scaling_factor = 8;
    config.rotary_original_context = 256;
    return config;
}

}  // namespace selvage::test

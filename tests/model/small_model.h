// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small model with everything that it needs around it.
#include <cmath>
#include <string>
#include <vector>

#include "base/philox.h"
#include "model/model.h"
#include "support/families.h"
#include "support/test_main.h"

namespace selvage::test {

using Tokens = std::vector<std::int32_t>;

struct SmallModel {
    explicit SmallModel(ModelConfig const& config, DType compute = DType::f32)
        : device(make_device("cpu")), arena(*device), grid(world(), {}), model(arena, config, grid, 0, compute) {}

    // Larger than the usual initialisation, so that no branch is small beside the residual stream; norms and biases
    // too, or their paths would not be seen.
    void randomise(std::uint64_t seed) {
        model.parameters().initialise(seed);
        Random const random(seed, Purpose::test);
        std::uint32_t parameter_index = 0;
        for (Parameter const& parameter : model.parameters().parameters()) {
            TensorView const view = model.parameters().value(parameter.spec.name);
            float* const data = view.as<float>();
            for (std::int64_t i = 0; i < view.elements(); ++i) {
                auto const u =
                    static_cast<float>(random.uniform({parameter_index, static_cast<std::uint32_t>(i)}) * 2 - 1);
                if (view.rank() == 1)
                    data[i] += 0.3F * u;
                else
                    data[i] = u * 1.4F / std::sqrt(static_cast<float>(view.dim(1)));
            }
            ++parameter_index;
        }
        if (model.compute() != DType::f32) model.pack(arena, Model::Use::training);
    }

    Tokens tokens(std::int64_t count, std::uint32_t stream) const {
        Random const random(7, Purpose::test);
        Tokens out;
        for (std::int64_t i = 0; i < count; ++i)
            out.push_back(static_cast<std::int32_t>(random.words({stream, static_cast<std::uint32_t>(i)})[0] %
                                                    static_cast<std::uint64_t>(model.config().vocabulary)));
        return out;
    }

    Tensor gradients() { return Tensor(arena, "gradients", DType::f32, {model.parameters().flat_size()}); }

    std::unique_ptr<Device> device;
    Arena arena;
    ProcessGrid grid;
    Model model;
};

// Llama-like, with sums longer than one K block (512) and a vocabulary of more than one block (1024).
inline ModelConfig llama_like() {
    ModelConfig config;
    config.layers = 2;
    config.hidden = 96;
    config.heads = 4;
    config.kv_heads = 2;
    config.head_size = 32;
    config.ffn = 544;
    config.vocabulary = 1100;
    return config;
}

// GPT-NeoX-like.
inline ModelConfig neox_like() {
    ModelConfig config;
    config.layers = 2;
    config.hidden = 80;
    config.heads = 5;
    config.kv_heads = 5;
    config.head_size = 16;
    config.ffn = 200;
    config.vocabulary = 300;
    config.norm = NormKind::layernorm;
    config.activation = ActivationKind::gelu;
    config.rotary_fraction = 0.25;
    config.tied = false;
    config.attention_bias = config.output_bias = config.mlp_bias = config.parallel_residual = true;
    return config;
}

inline ModelConfig gemma2_like() {
    ModelConfig config;
    config.layers = 2;
    config.hidden = 64;
    config.heads = 4;
    config.kv_heads = 2;
    config.head_size = 16;
    config.ffn = 96;
    config.vocabulary = 300;
    return as_gemma2(config);
}

inline ModelConfig qwen3_like() {
    ModelConfig config;
    config.layers = 2;
    config.hidden = 80;
    config.heads = 4;
    config.kv_heads = 1;
    config.head_size = 32;
    config.ffn = 112;
    config.vocabulary = 300;
    return as_qwen3(config);
}

// "llama", "neox", "gemma2" or "qwen3", with "_bf16" behind where products are in bf16.
inline ModelConfig config_named(std::string const& name) {
    if (name.starts_with("gemma2")) return gemma2_like();
    if (name.starts_with("qwen3")) return qwen3_like();
    return name.starts_with("llama") ? llama_like() : neox_like();
}
inline DType compute_named(std::string const& name) { return name.ends_with("_bf16") ? DType::bf16 : DType::f32; }

}  // namespace selvage::test

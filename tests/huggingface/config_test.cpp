// SPDX-License-Identifier: Apache-2.0
#include "huggingface/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace selvage::huggingface {
namespace {

using testing::HasSubstr;

// As transformers 4 wrote them.
constexpr char const* llama =
    R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 128000, "eos_token_id": [128001, 128008], "hidden_act": "silu", "hidden_size": 64,
  "initializer_range": 0.02, "intermediate_size": 128, "max_position_embeddings": 131072, "mlp_bias": false,
  "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
  "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.43.0", "use_cache": true,
  "vocab_size": 256})";
constexpr char const* neox = R"({"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0,
  "hidden_act": "gelu", "hidden_size": 64, "initializer_range": 0.02, "intermediate_size": 256, "layer_norm_eps": 1e-05,
  "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 8, "num_hidden_layers": 6,
  "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false, "torch_dtype": "float16",
  "transformers_version": "4.24.0", "use_cache": true, "use_parallel_residual": true, "vocab_size": 256})";
constexpr char const* gemma2 =
    R"({"model_type": "gemma2", "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
  "head_dim": 16, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 36,
  "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2,
  "query_pre_attn_scalar": 25, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096,
  "vocab_size": 256, "cache_implementation": "hybrid", "eos_token_id": 1})";
constexpr char const* qwen3 =
    R"({"model_type": "qwen3", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96,
  "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "max_window_layers": 3, "rope_scaling": null,
  "rope_theta": 1000000, "sliding_window": null, "use_sliding_window": false, "tie_word_embeddings": true,
  "vocab_size": 256})";

std::string with(std::string text, std::string const& key, std::string const& value) {
    std::string const quoted = "\"" + key + "\":";
    std::size_t const at = text.find(quoted);
    if (at == std::string::npos) return text.insert(1, quoted + " " + value + ", ");
    std::size_t depth = 0;
    std::size_t end = at + quoted.size();
    for (; depth > 0 || (text[end] != ',' && text[end] != '}'); ++end) {
        if (text[end] == '[' || text[end] == '{') ++depth;
        if (text[end] == ']' || text[end] == '}') --depth;
    }
    return text.replace(at, end - at, value.empty() ? "\"nothing\": null" : quoted + " " + value);
}

FolderConfig read(std::string const& text, io::StoredType type = io::StoredType::f32,
                  std::vector<std::string> const& ignored = {}) {
    return read_config(text, "config.json", type, ignored);
}

std::string refusal(std::string const& text) {
    try {
        read(text);
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        return error.what();
    }
    return "accepted";
}

TEST(Config, Llama3) {
    FolderConfig const config = read(llama);
    ModelConfig expected;
    expected.layers = 2;
    expected.hidden = 64;
    expected.heads = 4;
    expected.kv_heads = 2;
    expected.head_size = 16;
    expected.ffn = 128;
    expected.vocabulary = 256;
    expected.norm_epsilon = 1e-5;
    expected.tied = false;
    expected.rotary_base = 500000;
    expected.rotary_scaling = RotaryScaling::llama3;
    expected.rotary_scaling_factor = 8;
    EXPECT_EQ(config.model, expected);
    EXPECT_EQ(config.special, (SpecialTokens{128001, 128000, -1}));
}

TEST(Config, GptNeox) {
    ModelConfig const model = read(neox).model;
    EXPECT_EQ(model.norm, NormKind::layernorm);
    EXPECT_EQ(model.activation, ActivationKind::gelu_erf);
    EXPECT_EQ(model.rotary_fraction, 0.25);
    EXPECT_EQ(model.kv_heads, 8);
    EXPECT_TRUE(model.attention_bias && model.output_bias && model.mlp_bias && model.parallel_residual && !model.tied);
    EXPECT_EQ(read(with(neox, "hidden_act", "\"gelu_new\"")).model.activation, ActivationKind::gelu);
}

TEST(Config, Gemma2) {
    ModelConfig const model = read(gemma2).model;
    EXPECT_TRUE(model.tied && model.post_norm && model.norm_offset);
    EXPECT_EQ(model.activation, ActivationKind::geglu);
    EXPECT_EQ(model.embedding_scale, 6);
    EXPECT_EQ(model.attention_scale, 0.2);
    EXPECT_EQ(model.attention_softcap, 50);
    EXPECT_EQ(model.logit_softcap, 30);
    EXPECT_EQ(model.sliding_window, 4096);
    EXPECT_EQ(model.sliding_period, 2);
    EXPECT_EQ(read(with(gemma2, "final_logit_softcapping", "null")).model.logit_softcap, 0);
    EXPECT_EQ(read(with(gemma2, "hidden_size", "40")).model.embedding_scale, std::sqrt(40.0F));
    EXPECT_EQ(read(with(gemma2, "hidden_size", "40"), io::StoredType::bf16).model.embedding_scale, 6.3125);
}

TEST(Config, Qwen3AndItsWindows) {
    ModelConfig const model = read(qwen3).model;
    EXPECT_TRUE(model.query_key_norm && model.tied && !model.attention_bias);
    EXPECT_EQ(model.head_size, 128);
    EXPECT_EQ(model.sliding_window, 0);
    std::string const slides = with(with(qwen3, "use_sliding_window", "true"), "sliding_window", "32");
    EXPECT_EQ(read(slides).model.sliding_window, 0);
    EXPECT_EQ(read(with(slides, "max_window_layers", "0")).model.sliding_window, 32);
    EXPECT_THAT(refusal(with(slides, "max_window_layers", "1")), HasSubstr("max_window_layers"));
    std::string const types = R"(["sliding_attention", "sliding_attention", "full_attention"])";
    EXPECT_EQ(read(with(slides, "layer_types", types)).model.sliding_period, 3);
    EXPECT_THAT(refusal(with(slides, "layer_types", R"(["full_attention", "sliding_attention", "full_attention"])")),
                HasSubstr("layer_types"));
    EXPECT_THAT(refusal(with(slides, "layer_types", R"(["chunked_attention", "full_attention", "full_attention"])")),
                HasSubstr("chunked_attention"));
}

TEST(Config, DefaultsAreThoseOfTransformers) {
    std::string const mistral = with(with(llama, "model_type", "\"mistral\""), "mlp_bias", "");
    EXPECT_EQ(read(mistral).model.sliding_window, 4096);
    EXPECT_EQ(read(with(mistral, "sliding_window", "null")).model.sliding_window, 0);
    EXPECT_EQ(read(with(llama, "num_key_value_heads", "")).model.kv_heads, 4);
    std::string const gemma =
        with(with(with(llama, "model_type", "\"gemma\""), "hidden_act", "\"gelu\""), "rope_scaling", "");
    EXPECT_EQ(read(with(with(gemma, "pretraining_tp", ""), "mlp_bias", "")).model.activation, ActivationKind::geglu);
}

TEST(Config, WhatIsNotSupportedIsNamed) {
    auto const refused = [](std::string const& key, std::string const& value) {
        EXPECT_THAT(refusal(with(llama, key, value)), HasSubstr(key)) << value;
    };
    refused("model_type", "\"t5\"");
    refused("rope_scaling", R"({"rope_type": "yarn", "factor": 4.0})");
    refused("rope_scaling", R"({"rope_type": "llama3", "factor": 4.0})");
    refused("rope_scaling", R"({"type": "linear", "factor": 4.0, "mystery": 2})");
    refused("partial_rotary_factor", "0.5");
    refused("hidden_act", "\"relu\"");
    refused("attention_dropout", "0.1");
    refused("quantization_config", R"({"bits": 4})");
    refused("pretraining_tp", "2");
    refused("logit_scale", "0.0625");
    refused("auto_map", R"({"AutoModelForCausalLM": "modeling.Mine"})");
    for (char const* const key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                                  "vocab_size", "model_type", "hidden_act"}) {
        refused(key, "");
        refused(key, "[1]");
    }
    refused("vocab_size", "0");
    refused("num_hidden_layers", "2.5");
    EXPECT_THAT(refusal("[]"), HasSubstr("no JSON object"));
    EXPECT_THAT(refusal("{"), HasSubstr("no JSON object"));
    EXPECT_EQ(refusal(with(llama, "logit_scale", "null")), "accepted");
    EXPECT_EQ(read(with(llama, "logit_scale", "2"), io::StoredType::f32, {"logit_scale"}).model.layers, 2);
}

TEST(Config, NumbersAreTheNearestToWhatIsWritten) {
    for (int i = 1; i < 400; ++i) {
        std::string const text = fmt::format("{}e-{}", i, 5 + i % 7);
        EXPECT_EQ(read(with(llama, "rms_norm_eps", text)).model.norm_epsilon, std::stod(text));
    }
}

// What a model is can be said again, for each family.
TEST(Config, WritesWhatItReads) {
    for (char const* const text : {llama, neox, gemma2, qwen3}) {
        FolderConfig const config = read(text);
        std::string const written = write_config(config.model, io::StoredType::f32, config.special);
        FolderConfig const again = read(written);
        EXPECT_EQ(again.model, config.model);
        EXPECT_EQ(again.special, config.special);
        EXPECT_EQ(again.family, config.family);
    }
    // Any number is something that a config.json can say.
    ModelConfig model = read(llama).model;
    model.norm_epsilon = 1e-7 / 3;
    EXPECT_NE(write_config(model, io::StoredType::f32, {}), "");
    ModelConfig strange = read(llama).model;
    strange.norm = NormKind::layernorm;
    EXPECT_THROW(write_config(strange, io::StoredType::f32, {}), Error);
}

TEST(Config, TypeOfTheWeightsIsReplaced) {
    EXPECT_THAT(with_dtype(llama, io::StoredType::f16), HasSubstr(R"("torch_dtype": "float16",)"));
    EXPECT_EQ(read(with_dtype(llama, io::StoredType::f16)).model, read(llama).model);
}

}  // namespace
}  // namespace selvage::huggingface

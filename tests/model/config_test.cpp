// SPDX-License-Identifier: Apache-2.0
#include "model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "base/error.h"
#include "model/small_model.h"

namespace selvage::test {
namespace {

using testing::HasSubstr;

std::string message_of(std::function<void(ModelConfig&)> const& change) {
    ModelConfig config;
    config.vocabulary = 320;
    change(config);
    try {
        validate(config);
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        return error.what();
    }
    return "";
}

TEST(ModelConfig, DefaultsAreValid) {
    EXPECT_NO_THROW(validate(ModelConfig{}));
    EXPECT_NO_THROW(validate(llama_like()));
    EXPECT_NO_THROW(validate(neox_like()));
    EXPECT_NO_THROW(validate(gemma2_like()));
    EXPECT_NO_THROW(validate(qwen3_like()));
}

TEST(ModelConfig, ErrorsNameTheKey) {
    EXPECT_THAT(message_of([](auto& c) { c.layers = 0; }), HasSubstr("model.layers is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.hidden = -1; }), HasSubstr("model.hidden is -1"));
    EXPECT_THAT(message_of([](auto& c) { c.heads = 0; }), HasSubstr("model.heads is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.kv_heads = 0; }), HasSubstr("model.kv_heads is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.head_size = 0; }), HasSubstr("model.head_size is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.ffn = 0; }), HasSubstr("model.ffn is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.vocabulary = -5; }), HasSubstr("model.vocabulary is -5"));
    EXPECT_THAT(message_of([](auto& c) { c.vocabulary = std::int64_t{1} << 23; }), HasSubstr("model.vocabulary"));
    EXPECT_THAT(message_of([](auto& c) { c.kv_heads = 3; }), HasSubstr("make heads a multiple of kv_heads"));
    EXPECT_THAT(message_of([](auto& c) { c.kv_heads = 8; }), HasSubstr("make heads a multiple of kv_heads"));
    EXPECT_THAT(message_of([](auto& c) { c.norm_epsilon = 0; }), HasSubstr("model.norm_epsilon is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.norm_epsilon = std::nan(""); }), HasSubstr("model.norm_epsilon"));
    EXPECT_THAT(message_of([](auto& c) { c.rotary_base = 1; }), HasSubstr("model.rotary_base is 1"));
    EXPECT_THAT(message_of([](auto& c) { c.rotary_base = std::numeric_limits<double>::infinity(); }),
                HasSubstr("model.rotary_base"));
    EXPECT_THAT(message_of([](auto& c) { c.rotary_fraction = 1.5; }), HasSubstr("model.rotary_fraction is 1.5"));
    EXPECT_THAT(message_of([](auto& c) { c.head_size = 7; }), HasSubstr("are 7 dims"));
    EXPECT_THAT(message_of([](auto& c) {
                    c.head_size = 30;
                    c.rotary_fraction = 0.1;
                }),
                HasSubstr("are 3 dims"));
}

TEST(ModelConfig, ErrorsNameTheKeyOfAFamily) {
    double const infinity = std::numeric_limits<double>::infinity();
    EXPECT_THAT(message_of([](auto& c) { c.embedding_scale = 0; }), HasSubstr("model.embedding_scale is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.attention_scale = -1; }), HasSubstr("model.attention_scale is -1"));
    EXPECT_THAT(message_of([](auto& c) { c.attention_softcap = -1; }), HasSubstr("model.attention_softcap is -1"));
    EXPECT_THAT(message_of([&](auto& c) { c.logit_softcap = infinity; }), HasSubstr("model.logit_softcap is inf"));
    EXPECT_THAT(message_of([](auto& c) { c.sliding_window = -1; }), HasSubstr("model.sliding_window is -1"));
    EXPECT_THAT(message_of([](auto& c) { c.sliding_period = 1; }), HasSubstr("model.sliding_period is 1"));
    EXPECT_THAT(message_of([](auto& c) { c.rotary_scaling_factor = 0.5; }),
                HasSubstr("model.rotary_scaling_factor is 0.5"));
    EXPECT_THAT(message_of([](auto& c) { c.rotary_high_frequency_factor = 1; }),
                HasSubstr("model.rotary_high_frequency_factor is 1"));
    EXPECT_THAT(message_of([](auto& c) { c.rotary_original_context = 0; }),
                HasSubstr("model.rotary_original_context is 0"));
    EXPECT_THAT(message_of([](auto& c) { c.norm_offset = true, c.norm = NormKind::layernorm; }),
                HasSubstr("model.norm_offset is true with model.norm \"layernorm\""));
    EXPECT_THAT(message_of([](auto& c) { c.query_key_norm = true, c.norm = NormKind::layernorm; }),
                HasSubstr("model.query_key_norm is true with"));
    EXPECT_THAT(message_of([](auto& c) { c.post_norm = c.parallel_residual = true; }),
                HasSubstr("model.post_norm is true with model.parallel_residual"));
}

TEST(ModelConfig, VocabularyFromTheTokenizer) {
    ModelConfig config;
    EXPECT_EQ(resolve_vocabulary(config, 257).vocabulary, 320);
    EXPECT_EQ(resolve_vocabulary(config, 320).vocabulary, 320);
    config.vocabulary = 300;
    EXPECT_EQ(resolve_vocabulary(config, 257).vocabulary, 300);
    config.vocabulary = 256;
    EXPECT_THROW(resolve_vocabulary(config, 257), Error);
}

TEST(ModelConfig, Toml) {
    ModelConfig config = neox_like();
    config.rotary_base = 1e6;
    EXPECT_EQ(to_toml(config),
              "[model]\nlayers = 2\nhidden = 80\nheads = 5\nkv_heads = 5\nhead_size = 16\nffn = 200\nvocabulary = 300\n"
              "norm = \"layernorm\"\nnorm_epsilon = 1e-05\nactivation = \"gelu\"\nrotary_base = 1000000.0\n"
              "rotary_fraction = 0.25\ntied = false\nattention_bias = true\noutput_bias = true\nmlp_bias = true\n"
              "parallel_residual = true\nquery_key_norm = false\npost_norm = false\nnorm_offset = false\n"
              "embedding_scale = 1.0\nattention_scale = 0.0\nattention_softcap = 0.0\nlogit_softcap = 0.0\n"
              "sliding_window = 0\nsliding_period = 0\nrotary_scaling = \"none\"\nrotary_scaling_factor = 1.0\n"
              "rotary_low_frequency_factor = 1.0\nrotary_high_frequency_factor = 4.0\n"
              "rotary_original_context = 8192\n");
}

TEST(Parameters, NamesShapesAndInitialisation) {
    ModelConfig config = llama_like();
    config.layers = 8;
    std::vector<std::string> names;
    for (ParameterSpec const& spec : parameter_specs(config)) {
        names.push_back(spec.name);
        bool const matrix = spec.shape.rank() == 2;
        EXPECT_EQ(spec.weight_decay, matrix) << spec.name;
        EXPECT_EQ(spec.init, matrix ? InitKind::normal : InitKind::ones) << spec.name;
        bool const residual = spec.name.ends_with("attention.output.weight") || spec.name.ends_with("down.weight");
        if (matrix) {
            EXPECT_FLOAT_EQ(spec.deviation, residual ? 0.02F / 4 : 0.02F) << spec.name;
        }
    }
    ASSERT_EQ(names.size(), 2U + 8 * 9);
    EXPECT_THAT(
        std::vector<std::string>(names.begin(), names.begin() + 11),
        testing::ElementsAre("embedding.weight", "layers.0.attention_norm.weight", "layers.0.attention.query.weight",
                             "layers.0.attention.key.weight", "layers.0.attention.value.weight",
                             "layers.0.attention.output.weight", "layers.0.mlp_norm.weight", "layers.0.mlp.gate.weight",
                             "layers.0.mlp.up.weight", "layers.0.mlp.down.weight", "layers.1.attention_norm.weight"));
    SmallModel const small(config);
    auto const shape = [&](char const* name) { return small.model.parameters().value(name).shape().text(); };
    EXPECT_EQ(shape("embedding.weight"), "[1100, 96]");
    EXPECT_EQ(shape("layers.7.attention.query.weight"), "[128, 96]");
    EXPECT_EQ(shape("layers.7.attention.key.weight"), "[64, 96]");
    EXPECT_EQ(shape("layers.7.attention.output.weight"), "[96, 128]");
    EXPECT_EQ(shape("layers.7.mlp.gate.weight"), "[544, 96]");
    EXPECT_EQ(shape("layers.7.mlp.down.weight"), "[96, 544]");
}

TEST(Parameters, OfNormsThatOnlySomeFamiliesHave) {
    std::map<std::string, ParameterSpec> specs;
    ModelConfig config = gemma2_like();
    config.query_key_norm = true;
    for (ParameterSpec const& spec : parameter_specs(config)) specs.emplace(spec.name, spec);
    ASSERT_EQ(specs.size(), 2U + 2 * (9 + 4));
    for (char const* const name : {"attention_norm", "attention_post_norm", "mlp_norm", "mlp_post_norm"})
        EXPECT_EQ(specs.at(std::string("layers.1.") + name + ".weight").shape.text(), "[64]") << name;
    for (char const* const name : {"query_norm", "key_norm"})
        EXPECT_EQ(specs.at(std::string("layers.1.attention.") + name + ".weight").shape.text(), "[16]") << name;
    for (auto const& [name, spec] : specs)
        if (name.ends_with("norm.weight")) {
            EXPECT_EQ(spec.init, InitKind::zeros) << name;
            EXPECT_FALSE(spec.weight_decay) << name;
        }
}

TEST(ModelConfig, WindowsOfLayers) {
    ModelConfig config = gemma2_like();
    EXPECT_EQ(sliding_window(config, 0), 17);
    EXPECT_EQ(sliding_window(config, 1), 0);
    EXPECT_EQ(sliding_window(config, 2), 17);
    config.sliding_period = 0;
    EXPECT_EQ(sliding_window(config, 1), 17);
}

TEST(PackedSequences, PositionsSegmentsAndPages) {
    Tokens tokens(200);
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i);
    std::vector<std::int64_t> const lengths = {65, 1, 64, 70};
    PackedSequences const packed(tokens, lengths);
    EXPECT_EQ(packed.pages(), 2 + 1 + 1 + 2);
    TokenBatch const batch = packed.batch();
    EXPECT_THAT(batch.tokens, testing::ElementsAreArray(tokens));
    EXPECT_EQ(batch.positions[64], 64);
    EXPECT_EQ(batch.positions[65], 0);
    EXPECT_EQ(batch.positions[66], 0);
    EXPECT_EQ(batch.positions[199], 69);
    ASSERT_EQ(batch.segments.size(), 4U);
    EXPECT_EQ(batch.segments[3].first_row, 130);
    EXPECT_EQ(batch.segments[3].rows, 70);
    EXPECT_EQ(batch.segments[3].first_position, 0);
    EXPECT_THAT(batch.segments[3].page_table, testing::ElementsAre(4, 5));
    EXPECT_THROW(PackedSequences(tokens, std::vector<std::int64_t>{100}), Error);
    EXPECT_THROW(PackedSequences(tokens, std::vector<std::int64_t>{200, 0}), Error);
}

TEST(PackedSequences, PagesForIsTheLargestNumber) {
    EXPECT_EQ(PackedSequences::pages_for(1024, 1), 16);
    EXPECT_EQ(PackedSequences::pages_for(65, 1), 2);
    EXPECT_EQ(PackedSequences::pages_for(66, 2), 2 + 1);
    EXPECT_EQ(PackedSequences::pages_for(5, 100), 5);
    EXPECT_EQ(PackedSequences::pages_for(0, 3), 0);
}

TEST(KvCache, BytesCountEveryLayer) {
    ModelConfig const config = llama_like();
    SmallModel small(config);
    std::size_t const before = small.arena.in_use();
    KvCache const cache(small.arena, small.model, 3);
    EXPECT_EQ(small.arena.in_use() - before, 3 * KvCache::bytes_per_page(config, DType::f32));
    EXPECT_EQ(KvCache::bytes_per_page(config, DType::f32), std::size_t{2} * 2 * 2 * 32 * 64 * 4);
}

}  // namespace
}  // namespace selvage::test

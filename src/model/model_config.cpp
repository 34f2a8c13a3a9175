// SPDX-License-Identifier: Apache-2.0
#include "model/model_config.h"

#include <cmath>

#include "base/error.h"

namespace selvage {
namespace {

constexpr std::int64_t largest_size = std::int64_t{1} << 24;
constexpr std::int64_t largest_vocabulary = std::int64_t{1} << 22;  // what the sampler's integer sums allow

void require_size(char const* key, std::int64_t value, std::int64_t lowest, std::int64_t highest) {
    if (value < lowest || value > highest)
        fail(ExitCode::bad_data, "model.{} is {} (must be {} to {}); change it", key, value, lowest, highest);
}

void require_number(char const* key, double value, double lowest, char const* usual) {
    if (!(value >= lowest && std::isfinite(value)))
        fail(ExitCode::bad_data, "model.{} is {} (must be a number from {} on); usual is {}", key, value, lowest,
             usual);
}

void validate_norms(ModelConfig const& config) {
    auto const refuse = [](char const* key, char const* with, char const* instead) {
        fail(ExitCode::bad_data, "model.{} is true with {} (the model does not combine them); set {}", key, with,
             instead);
    };
    if (config.norm == NormKind::layernorm) {
        if (config.norm_offset) refuse("norm_offset", "model.norm \"layernorm\"", "norm to \"rmsnorm\"");
        if (config.query_key_norm) refuse("query_key_norm", "model.norm \"layernorm\"", "norm to \"rmsnorm\"");
    }
    if (config.post_norm && config.parallel_residual)
        refuse("post_norm", "model.parallel_residual", "one of them to false");
}

void validate_attention(ModelConfig const& config) {
    require_number("attention_scale", config.attention_scale, 0, "0, which is 1 / sqrt(head_size)");
    require_number("attention_softcap", config.attention_softcap, 0, "0, which is none, or 50");
    require_size("sliding_window", config.sliding_window, 0, largest_size);
    require_size("sliding_period", config.sliding_period, 0, largest_size);
    if (config.sliding_period == 1)
        fail(ExitCode::bad_data,
             "model.sliding_period is 1 (every layer would see all keys); set model.sliding_window to 0 instead, or "
             "the period to 0 or at least 2");
}

void validate_rotary(ModelConfig const& config) {
    if (!(config.rotary_base > 1 && std::isfinite(config.rotary_base)))
        fail(ExitCode::bad_data, "model.rotary_base is {} (must be a number above 1); usual is 10000",
             config.rotary_base);
    if (!(config.rotary_fraction >= 0 && config.rotary_fraction <= 1))
        fail(ExitCode::bad_data, "model.rotary_fraction is {} (must be 0 to 1); usual is 1", config.rotary_fraction);
    if (rotated_dims(config) % 2 != 0)
        fail(ExitCode::bad_data,
             "model.rotary_fraction {} of model.head_size {} are {} dims (they are turned in pairs); make them even",
             config.rotary_fraction, config.head_size, rotated_dims(config));
    require_number("rotary_scaling_factor", config.rotary_scaling_factor, 1, "1 to 32");
    require_size("rotary_original_context", config.rotary_original_context, 1, largest_size);
    require_number("rotary_low_frequency_factor", config.rotary_low_frequency_factor, 0, "1");
    require_number("rotary_high_frequency_factor", config.rotary_high_frequency_factor, 0, "4");
    if (config.rotary_high_frequency_factor <= config.rotary_low_frequency_factor)
        fail(ExitCode::bad_data,
             "model.rotary_high_frequency_factor is {} and model.rotary_low_frequency_factor is {} (frequencies "
             "between them are mixed); make the first one larger",
             config.rotary_high_frequency_factor, config.rotary_low_frequency_factor);
}

// A TOML float always shows that it is one.
std::string toml_float(double value) {
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
}

}  // namespace

std::int64_t rotated_dims(ModelConfig const& config) {
    // 0.1 * 30 is a little less than 3.
    return static_cast<std::int64_t>(config.rotary_fraction * static_cast<double>(config.head_size) + 1e-6);
}

std::int64_t sliding_window(ModelConfig const& config, std::int64_t layer) {
    bool const sees_all = config.sliding_period > 0 && (layer + 1) % config.sliding_period == 0;
    return sees_all ? 0 : config.sliding_window;
}

void validate(ModelConfig const& config) {
    require_size("layers", config.layers, 1, largest_size);
    require_size("hidden", config.hidden, 1, largest_size);
    require_size("heads", config.heads, 1, largest_size);
    require_size("kv_heads", config.kv_heads, 1, largest_size);
    require_size("head_size", config.head_size, 1, largest_size);
    require_size("ffn", config.ffn, 1, largest_size);
    require_size("vocabulary", config.vocabulary, 0, largest_vocabulary);
    if (config.heads % config.kv_heads != 0)
        fail(ExitCode::bad_data,
             "model.heads is {} and model.kv_heads is {} (every key/value head serves the same number of query heads); "
             "make heads a multiple of kv_heads",
             config.heads, config.kv_heads);
    if (!(config.norm_epsilon > 0 && config.norm_epsilon < 1))
        fail(ExitCode::bad_data, "model.norm_epsilon is {} (must be above 0 and below 1); usual is 1e-5",
             config.norm_epsilon);
    if (!(config.embedding_scale > 0 && std::isfinite(config.embedding_scale)))
        fail(ExitCode::bad_data, "model.embedding_scale is {} (must be a number above 0); usual is 1, or sqrt(hidden)",
             config.embedding_scale);
    require_number("logit_softcap", config.logit_softcap, 0, "0, which is none, or 30");
    validate_norms(config);
    validate_attention(config);
    validate_rotary(config);
}

ModelConfig resolve_vocabulary(ModelConfig config, std::int64_t pieces) {
    if (config.vocabulary == 0) config.vocabulary = (pieces + 63) / 64 * 64;
    if (config.vocabulary < pieces)
        fail(ExitCode::bad_data,
             "model.vocabulary is {} but the tokenizer has {} pieces; make it at least {}, or 0 to take it from the "
             "tokenizer",
             config.vocabulary, pieces, pieces);
    return config;
}

char const* name_of(NormKind norm) { return norm == NormKind::rmsnorm ? "rmsnorm" : "layernorm"; }

char const* name_of(ActivationKind activation) {
    switch (activation) {
        case ActivationKind::swiglu:
            return "swiglu";
        case ActivationKind::geglu:
            return "geglu";
        case ActivationKind::gelu:
            return "gelu";
        case ActivationKind::geglu_erf:
            return "geglu_erf";
        case ActivationKind::gelu_erf:
            return "gelu_erf";
    }
    return "?";
}

char const* name_of(RotaryScaling scaling) {
    switch (scaling) {
        case RotaryScaling::none:
            return "none";
        case RotaryScaling::linear:
            return "linear";
        case RotaryScaling::llama3:
            return "llama3";
    }
    return "?";
}

std::string to_toml(ModelConfig const& config) {
    std::string text = "[model]\n";
    auto const line = [&](char const* key, auto const& value) { text += fmt::format("{} = {}\n", key, value); };
    line("layers", config.layers);
    line("hidden", config.hidden);
    line("heads", config.heads);
    line("kv_heads", config.kv_heads);
    line("head_size", config.head_size);
    line("ffn", config.ffn);
    line("vocabulary", config.vocabulary);
    line("norm", fmt::format("\"{}\"", name_of(config.norm)));
    line("norm_epsilon", toml_float(config.norm_epsilon));
    line("activation", fmt::format("\"{}\"", name_of(config.activation)));
    line("rotary_base", toml_float(config.rotary_base));
    line("rotary_fraction", toml_float(config.rotary_fraction));
    line("tied", config.tied);
    line("attention_bias", config.attention_bias);
    line("output_bias", config.output_bias);
    line("mlp_bias", config.mlp_bias);
    line("parallel_residual", config.parallel_residual);
    line("query_key_norm", config.query_key_norm);
    line("post_norm", config.post_norm);
    line("norm_offset", config.norm_offset);
    line("embedding_scale", toml_float(config.embedding_scale));
    line("attention_scale", toml_float(config.attention_scale));
    line("attention_softcap", toml_float(config.attention_softcap));
    line("logit_softcap", toml_float(config.logit_softcap));
    line("sliding_window", config.sliding_window);
    line("sliding_period", config.sliding_period);
    line("rotary_scaling", fmt::format("\"{}\"", name_of(config.rotary_scaling)));
    line("rotary_scaling_factor", toml_float(config.rotary_scaling_factor));
    line("rotary_low_frequency_factor", toml_float(config.rotary_low_frequency_factor));
    line("rotary_high_frequency_factor", toml_float(config.rotary_high_frequency_factor));
    line("rotary_original_context", config.rotary_original_context);
    return text;
}

}  // namespace selvage

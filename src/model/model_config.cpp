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
    if (!(config.rotary_base > 1 && std::isfinite(config.rotary_base)))
        fail(ExitCode::bad_data, "model.rotary_base is {} (must be a number above 1); usual is 10000",
             config.rotary_base);
    if (!(config.rotary_fraction >= 0 && config.rotary_fraction <= 1))
        fail(ExitCode::bad_data, "model.rotary_fraction is {} (must be 0 to 1); usual is 1", config.rotary_fraction);
    if (rotated_dims(config) % 2 != 0)
        fail(ExitCode::bad_data,
             "model.rotary_fraction {} of model.head_size {} are {} dims (they are turned in pairs); make them even",
             config.rotary_fraction, config.head_size, rotated_dims(config));
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
    return text;
}

}  // namespace selvage

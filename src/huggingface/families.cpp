// SPDX-License-Identifier: Apache-2.0
// Sources: the configuration and modeling files of transformers 4.40 to 5.23 for each family.
#include "huggingface/families.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace selvage::huggingface {
namespace {

constexpr std::array<NamePair, 14> llama_names = {{
    {"embedding", "model.embed_tokens"},
    {"layers.*.attention_norm", "model.layers.*.input_layernorm"},
    {"layers.*.attention.query", "model.layers.*.self_attn.q_proj"},
    {"layers.*.attention.key", "model.layers.*.self_attn.k_proj"},
    {"layers.*.attention.value", "model.layers.*.self_attn.v_proj"},
    {"layers.*.attention.query_norm", "model.layers.*.self_attn.q_norm"},
    {"layers.*.attention.key_norm", "model.layers.*.self_attn.k_norm"},
    {"layers.*.attention.output", "model.layers.*.self_attn.o_proj"},
    {"layers.*.mlp_norm", "model.layers.*.post_attention_layernorm"},
    {"layers.*.mlp.gate", "model.layers.*.mlp.gate_proj"},
    {"layers.*.mlp.up", "model.layers.*.mlp.up_proj"},
    {"layers.*.mlp.down", "model.layers.*.mlp.down_proj"},
    {"final_norm", "model.norm"},
    {"output", "lm_head"},
}};

constexpr std::array<NamePair, 3> gemma2_names = {{
    {"layers.*.attention_post_norm", "model.layers.*.post_attention_layernorm"},
    {"layers.*.mlp_norm", "model.layers.*.pre_feedforward_layernorm"},
    {"layers.*.mlp_post_norm", "model.layers.*.post_feedforward_layernorm"},
}};

constexpr std::array<NamePair, 11> neox_names = {{
    {"embedding", "gpt_neox.embed_in"},
    {"layers.*.attention_norm", "gpt_neox.layers.*.input_layernorm"},
    {"layers.*.attention.query", "gpt_neox.layers.*.attention.query_key_value"},
    {"layers.*.attention.key", "gpt_neox.layers.*.attention.query_key_value"},
    {"layers.*.attention.value", "gpt_neox.layers.*.attention.query_key_value"},
    {"layers.*.attention.output", "gpt_neox.layers.*.attention.dense"},
    {"layers.*.mlp_norm", "gpt_neox.layers.*.post_attention_layernorm"},
    {"layers.*.mlp.up", "gpt_neox.layers.*.mlp.dense_h_to_4h"},
    {"layers.*.mlp.down", "gpt_neox.layers.*.mlp.dense_4h_to_h"},
    {"final_norm", "gpt_neox.final_layer_norm"},
    {"output", "embed_out"},
}};

enum class Curve : std::uint8_t { silu, gelu_tanh, gelu_erf };

Curve curve_named(ConfigReader const& reader, std::string_view key, std::string const& name) {
    if (name == "silu" || name == "swish") return Curve::silu;
    if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Curve::gelu_tanh;
    if (name == "gelu" || name == "gelu_python") return Curve::gelu_erf;
    reader.fail_key(
        key, fmt::format("is \"{}\": this activation is not supported by this version; use another model", name));
}

ActivationKind gated(Curve curve) {
    return curve == Curve::silu        ? ActivationKind::swiglu
           : curve == Curve::gelu_tanh ? ActivationKind::geglu
                                       : ActivationKind::geglu_erf;
}

char const* name_of_curve(ActivationKind activation) {
    switch (activation) {
        case ActivationKind::swiglu:
            return "silu";
        case ActivationKind::geglu:
        case ActivationKind::gelu:
            return "gelu_pytorch_tanh";
        case ActivationKind::geglu_erf:
        case ActivationKind::gelu_erf:
            return "gelu";
    }
    return "?";
}

// Of what all but GPT-NeoX share, where config.json does not say it.
struct GatedDefaults {
    char const* activation_key = "hidden_act";
    bool tied = false;
    // transformers takes the number that the family's first model has, so that a file without it is not whole.
    bool needs_kv_heads = true;
};

void read_gated(ConfigReader& reader, ModelConfig& model, GatedDefaults const& defaults) {
    model.norm = NormKind::rmsnorm;
    model.norm_epsilon = reader.number("rms_norm_eps", 1e-6);
    model.tied = reader.flag("tie_word_embeddings", defaults.tied);
    std::string const activation = reader.text(defaults.activation_key);
    model.activation = gated(curve_named(reader, defaults.activation_key, activation));
    std::optional<std::int64_t> heads = model.heads;
    if (defaults.needs_kv_heads && !reader.mentions("num_key_value_heads")) heads.reset();
    model.kv_heads = reader.integer("num_key_value_heads", heads);
    reader.refuse("attention_dropout", "dropout");
    if (reader.integer("pretraining_tp", 1) != 1)
        reader.fail_key("pretraining_tp", "is not 1: products cut in parts are not supported; set it to 1");
}

void write_gated(ModelConfig const& model, json::object& config, char const* activation_key) {
    config["rms_norm_eps"] = model.norm_epsilon;
    config["tie_word_embeddings"] = model.tied;
    config[activation_key] = name_of_curve(model.activation);
    config["num_key_value_heads"] = model.kv_heads;
}

// Which layers see the last `window` keys only. transformers has a list; ours are all layers, or all but every p-th.
void read_layer_types(ConfigReader& reader, ModelConfig& model, std::vector<bool> slides, std::int64_t window) {
    if (json::value const* const types = reader.value("layer_types")) {
        if (!types->is_array() || types->get_array().size() != slides.size())
            reader.fail_key("layer_types", "is not a list of num_hidden_layers types; correct it");
        for (std::size_t i = 0; i < slides.size(); ++i) {
            json::value const& type = types->get_array()[i];
            slides[i] = type == "sliding_attention";
            if (!slides[i] && type != "full_attention")
                reader.fail_key("layer_types", "has " + json::serialize(type) +
                                                   ", which is not supported by this version; use another "
                                                   "model");
        }
    }
    auto const whole = std::find(slides.begin(), slides.end(), false);
    auto const first = static_cast<std::int64_t>(whole - slides.begin());
    if (std::find(slides.begin(), slides.end(), true) == slides.end() || window == 0) return;
    model.sliding_window = window;
    model.sliding_period = whole == slides.end() ? 0 : first + 1;
    for (std::size_t i = 0; i < slides.size() && model.sliding_period > 0; ++i)
        if (slides[i] == ((static_cast<std::int64_t>(i) + 1) % model.sliding_period == 0))
            reader.fail_key(reader.mentions("layer_types") ? "layer_types" : "max_window_layers",
                            "has layers with and without sliding_window in an order that is not supported by this "
                            "version (all, or all but every p-th); use another model");
}

void write_layer_types(ModelConfig const& model, json::object& config) {
    json::array types;
    for (std::int64_t i = 0; i < model.layers; ++i) {
        bool const whole =
            model.sliding_window == 0 || (model.sliding_period > 0 && (i + 1) % model.sliding_period == 0);
        types.emplace_back(whole ? "full_attention" : "sliding_attention");
    }
    config["layer_types"] = std::move(types);
    config["sliding_window"] = model.sliding_window == 0 ? json::value(nullptr) : json::value(model.sliding_window);
}

void read_biases(ConfigReader& reader, ModelConfig& model) {
    model.attention_bias = model.output_bias = reader.flag("attention_bias", false);
}

void read_llama(ConfigReader& reader, ModelConfig& model) {
    read_gated(reader, model, {.needs_kv_heads = false});
    read_biases(reader, model);
    model.mlp_bias = reader.flag("mlp_bias", false);
}

void write_llama(ModelConfig const& model, json::object& config) {
    write_gated(model, config, "hidden_act");
    config["attention_bias"] = model.attention_bias;
    config["mlp_bias"] = model.mlp_bias;
}

void read_mistral(ConfigReader& reader, ModelConfig& model) {
    read_gated(reader, model, {});
    model.sliding_window = static_cast<std::int64_t>(reader.number_or_none("sliding_window", 4096));
}

void write_mistral(ModelConfig const& model, json::object& config) {
    write_gated(model, config, "hidden_act");
    config["sliding_window"] = model.sliding_window == 0 ? json::value(nullptr) : json::value(model.sliding_window);
}

void read_qwen_windows(ConfigReader& reader, ModelConfig& model) {
    bool const used = reader.flag("use_sliding_window", false);
    auto const window = static_cast<std::int64_t>(reader.number_or_none("sliding_window", 4096));
    std::int64_t const first = reader.integer("max_window_layers", 28);
    std::vector<bool> slides;
    for (std::int64_t i = 0; i < model.layers; ++i) slides.push_back(used && window > 0 && i >= first);
    read_layer_types(reader, model, std::move(slides), used ? window : 0);
}

void write_qwen_windows(ModelConfig const& model, json::object& config) {
    config["use_sliding_window"] = model.sliding_window > 0;
    config["max_window_layers"] = model.sliding_window > 0 ? 0 : model.layers;
    write_layer_types(model, config);
}

void read_qwen2(ConfigReader& reader, ModelConfig& model) {
    read_gated(reader, model, {});
    model.attention_bias = true;
    read_qwen_windows(reader, model);
}

void write_qwen2(ModelConfig const& model, json::object& config) {
    write_gated(model, config, "hidden_act");
    write_qwen_windows(model, config);
}

void read_qwen3(ConfigReader& reader, ModelConfig& model) {
    read_gated(reader, model, {});
    read_biases(reader, model);
    model.query_key_norm = true;
    read_qwen_windows(reader, model);
}

void write_qwen3(ModelConfig const& model, json::object& config) {
    write_gated(model, config, "hidden_act");
    config["attention_bias"] = model.attention_bias;
    write_qwen_windows(model, config);
}

void read_gemma_like(ConfigReader& reader, ModelConfig& model, char const* activation_key) {
    read_gated(reader, model, {.activation_key = activation_key, .tied = true});
    read_biases(reader, model);
    model.norm_offset = true;
    reader.refuse("use_bidirectional_attention", "attention to later tokens");
}

// "gelu" in the hidden_act of its first folders means the approximation by tanh (transformers pull request 29402);
// hidden_activation, which came later, goes before it.
void read_gemma(ConfigReader& reader, ModelConfig& model) {
    bool const later = reader.has("hidden_activation");
    read_gemma_like(reader, model, later ? "hidden_activation" : "hidden_act");
    if (later)
        reader.skip("hidden_act");
    else if (model.activation == ActivationKind::geglu_erf)
        model.activation = ActivationKind::geglu;
}

void write_gemma(ModelConfig const& model, json::object& config) {
    write_gated(model, config, "hidden_act");
    config["hidden_activation"] = config["hidden_act"];
    config["attention_bias"] = model.attention_bias;
}

void read_gemma2(ConfigReader& reader, ModelConfig& model) {
    read_gemma_like(reader, model, "hidden_activation");
    reader.skip("hidden_act");  // of the first folders; transformers does not read it
    model.post_norm = true;
    model.attention_softcap = reader.number_or_none("attn_logit_softcapping", 50);
    model.logit_softcap = reader.number_or_none("final_logit_softcapping", 30);
    double const scalar = reader.number("query_pre_attn_scalar", 256);
    if (!(scalar > 0)) reader.fail_key("query_pre_attn_scalar", "is not above 0; correct it");
    // 0 says the same where it is the size of a head.
    model.attention_scale = scalar == static_cast<double>(model.head_size) ? 0 : 1 / std::sqrt(scalar);
    auto const window = static_cast<std::int64_t>(reader.number_or_none("sliding_window", 4096));
    std::vector<bool> slides;
    for (std::int64_t i = 0; i < model.layers; ++i) slides.push_back(window > 0 && i % 2 == 0);
    read_layer_types(reader, model, std::move(slides), window);
}

void write_gemma2(ModelConfig const& model, json::object& config) {
    auto const cap = [](double value) { return value == 0 ? json::value(nullptr) : json::value(value); };
    write_gated(model, config, "hidden_activation");
    config["attention_bias"] = model.attention_bias;
    config["attn_logit_softcapping"] = cap(model.attention_softcap);
    config["final_logit_softcapping"] = cap(model.logit_softcap);
    config["query_pre_attn_scalar"] =
        model.attention_scale == 0 ? model.head_size : std::llround(std::pow(model.attention_scale, -2));
    write_layer_types(model, config);
}

void read_neox(ConfigReader& reader, ModelConfig& model) {
    model.norm = NormKind::layernorm;
    model.norm_epsilon = reader.number("layer_norm_eps", 1e-5);
    model.kv_heads = model.heads;
    model.tied = reader.flag("tie_word_embeddings", false);
    Curve const curve = curve_named(reader, "hidden_act", reader.text("hidden_act"));
    if (curve == Curve::silu) reader.fail_key("hidden_act", "is \"silu\": an MLP without gate has GELU here");
    model.activation = curve == Curve::gelu_tanh ? ActivationKind::gelu : ActivationKind::gelu_erf;
    model.parallel_residual = reader.flag("use_parallel_residual", true);
    model.attention_bias = model.output_bias = reader.flag("attention_bias", true);
    model.mlp_bias = true;
    for (char const* const key : {"attention_dropout", "hidden_dropout"}) reader.refuse(key, "dropout");
}

void write_neox(ModelConfig const& model, json::object& config) {
    for (char const* const key : {"rope_theta", "head_dim"}) config.erase(key);
    config["layer_norm_eps"] = model.norm_epsilon;
    config["tie_word_embeddings"] = model.tied;
    config["hidden_act"] = name_of_curve(model.activation);
    config["use_parallel_residual"] = model.parallel_residual;
    config["attention_bias"] = model.attention_bias;
    config["rotary_emb_base"] = model.rotary_base;
    config["rotary_pct"] = model.rotary_fraction;
}

constexpr std::array<Family, 7> all_families = {{
    {.model_type = "llama", .architecture = "LlamaForCausalLM", .names = {}, .read = read_llama, .write = write_llama},
    {.model_type = "mistral",
     .architecture = "MistralForCausalLM",
     .names = {},
     .read = read_mistral,
     .write = write_mistral},
    {.model_type = "qwen2", .architecture = "Qwen2ForCausalLM", .names = {}, .read = read_qwen2, .write = write_qwen2},
    {.model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .names = {},
     .head_size = 128,
     .read = read_qwen3,
     .write = write_qwen3},
    {.model_type = "gemma",
     .architecture = "GemmaForCausalLM",
     .names = {},
     .scales_embedding = true,
     .head_size = 256,
     .read = read_gemma,
     .write = write_gemma},
    {.model_type = "gemma2",
     .architecture = "Gemma2ForCausalLM",
     .names = gemma2_names,
     .scales_embedding = true,
     .head_size = 256,
     .read = read_gemma2,
     .write = write_gemma2},
    {.model_type = "gpt_neox",
     .architecture = "GPTNeoXForCausalLM",
     .names = neox_names,
     .fused_query_key_value = true,
     .read = read_neox,
     .write = write_neox},
}};

}  // namespace

std::span<Family const> families() { return all_families; }

Family const& family_named(std::string_view model_type, std::string_view where) {
    std::string known;
    for (Family const& family : all_families) {
        if (family.model_type == model_type) return family;
        known += fmt::format("{}{}", known.empty() ? "" : ", ", family.model_type);
    }
    fail(ExitCode::bad_data, "{}: model_type is \"{}\", which this version does not know; it knows {}", where,
         model_type, known);
}

std::string_view theirs(Family const& family, std::string_view ours) {
    for (std::span<NamePair const> const names : {family.names, std::span<NamePair const>(llama_names)})
        for (NamePair const& pair : names)
            if (pair.ours == ours) return pair.theirs;
    fail_check("a parameter of the family", __FILE__, __LINE__, fmt::format("{} of {}", ours, family.model_type));
}

}  // namespace selvage::huggingface

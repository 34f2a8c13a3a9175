// SPDX-License-Identifier: Apache-2.0
#include "huggingface/config.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/error.h"
#include "huggingface/families.h"
#include "io/half.h"

namespace selvage::huggingface {
namespace {

// Keys that say nothing about what the model computes in training and generation here: names, ids, hints for
// transformers' own initialisation, loading, caches and sampling, and the context, which is the deck's business
// (data.context).
constexpr std::array harmless = {"architectures",
                                 "model_type",
                                 "transformers_version",
                                 "torch_dtype",
                                 "dtype",
                                 "use_cache",
                                 "bos_token_id",
                                 "eos_token_id",
                                 "pad_token_id",
                                 "sep_token_id",
                                 "unk_token_id",
                                 "decoder_start_token_id",
                                 "initializer_range",
                                 "max_position_embeddings",
                                 "_name_or_path",
                                 "name_or_path",
                                 "_commit_hash",
                                 "output_attentions",
                                 "output_hidden_states",
                                 "output_scores",
                                 "return_dict",
                                 "return_dict_in_generate",
                                 "id2label",
                                 "label2id",
                                 "num_labels",
                                 "problem_type",
                                 "finetuning_task",
                                 "task_specific_params",
                                 "tokenizer_class",
                                 "prefix",
                                 "classifier_dropout",
                                 "attn_implementation",
                                 "_attn_implementation",
                                 "_attn_implementation_autoset",
                                 "cache_implementation",
                                 "chunk_size_feed_forward",
                                 "is_decoder",
                                 "max_window_layers",
                                 "unsloth_fixed",
                                 "unsloth_version",
                                 "torchscript",
                                 "tf_legacy_loss",
                                 "use_bfloat16",
                                 "max_length",
                                 "min_length",
                                 "do_sample",
                                 "early_stopping",
                                 "num_beams",
                                 "num_beam_groups",
                                 "diversity_penalty",
                                 "temperature",
                                 "top_k",
                                 "top_p",
                                 "typical_p",
                                 "repetition_penalty",
                                 "length_penalty",
                                 "no_repeat_ngram_size",
                                 "encoder_no_repeat_ngram_size",
                                 "num_return_sequences",
                                 "exponential_decay_length_penalty",
                                 "suppress_tokens",
                                 "begin_suppress_tokens",
                                 "bad_words_ids",
                                 "forced_bos_token_id",
                                 "forced_eos_token_id",
                                 "remove_invalid_values"};

void read_scaling(ConfigReader& reader, ModelConfig& model) {
    std::string const type = reader.text("rope_type", reader.text("type", "default"));
    if (type == "linear" || type == "llama3") {
        model.rotary_scaling = type == "linear" ? RotaryScaling::linear : RotaryScaling::llama3;
        model.rotary_scaling_factor = reader.number("factor");
    } else if (type == "default") {
        reader.skip("factor");
    } else {
        reader.fail_key("rope_type", fmt::format("is \"{}\", which is not supported by this version (default, linear "
                                                 "and llama3 are); use another model",
                                                 type));
    }
    if (type != "llama3") return reader.skip("original_max_position_embeddings");
    model.rotary_low_frequency_factor = reader.number("low_freq_factor");
    model.rotary_high_frequency_factor = reader.number("high_freq_factor");
    model.rotary_original_context = reader.integer("original_max_position_embeddings");
}

// transformers 5 has all of it in rope_parameters, earlier ones have rope_theta and rope_scaling, GPT-NeoX had names of
// its own.
void read_rotary(ConfigReader& reader, Family const& family, ModelConfig& model) {
    bool const is_neox = family.fused_query_key_value;
    model.rotary_base =
        reader.number(is_neox && reader.has("rotary_emb_base") ? "rotary_emb_base" : "rope_theta", 10000);
    model.rotary_fraction = is_neox ? reader.number("rotary_pct", 0.25) : reader.number("partial_rotary_factor", 1);
    char const* const key = reader.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
    if (json::object const* const object = reader.object(key)) {
        ConfigReader inner(*object, fmt::format("{}: {}", reader.where(), key));
        model.rotary_base = inner.number("rope_theta", model.rotary_base);
        model.rotary_fraction = inner.number("partial_rotary_factor", model.rotary_fraction);
        read_scaling(inner, model);
        inner.finish();
    }
    reader.skip("rope_parameters");
    if (!is_neox && model.rotary_fraction != 1)
        reader.fail_key("partial_rotary_factor", "is not 1, which this family does not have; correct it");
}

double rounded_to(io::StoredType type, double value) {
    auto const single = static_cast<float>(value);
    if (type == io::StoredType::bf16) return io::from_bf16(io::to_bf16(single));
    if (type == io::StoredType::f16) return io::from_f16(io::to_f16(single));
    return single;
}

// Ids; of several the first.
Token read_id(ConfigReader const& reader, json::object const& config, char const* key) {
    json::value const* value = config.if_contains(key);
    if (value != nullptr && value->is_array() && !value->get_array().empty()) value = &value->get_array()[0];
    if (value == nullptr || value->is_null()) return -1;
    if (!value->is_int64() || value->get_int64() < -1 || value->get_int64() > (1 << 30))
        reader.fail_key(key, "is " + json::serialize(*value) + " (must be a token's id); correct it");
    return static_cast<Token>(value->get_int64());
}

// The parser may miss the nearest double by a bit or two (Boost.JSON before 1.84): of at most 15 digits, as people
// write them, it is found again.
double as_written(double parsed) {
    double const written = std::strtod(fmt::format("{:.15g}", parsed).c_str(), nullptr);
    return std::fabs(written - parsed) <= 4 * std::numeric_limits<double>::epsilon() * std::fabs(parsed) ? written
                                                                                                         : parsed;
}

void restore_numbers(json::value& value) {
    if (value.is_double()) value = as_written(value.get_double());
    if (value.is_array())
        for (json::value& entry : value.get_array()) restore_numbers(entry);
    if (value.is_object())
        for (auto& entry : value.get_object()) restore_numbers(entry.value());
}

json::value parse(std::string const& text, std::string const& where) {
    boost::system::error_code error;
    json::value value = json::parse(text, error);
    if (error || !value.is_object())
        fail(ExitCode::bad_data, "{} is no JSON object ({}); the file is damaged", where,
             error ? error.message() : "something else");
    restore_numbers(value);
    return value;
}

std::int64_t read_size(ConfigReader& reader, char const* key) {
    std::int64_t const size = reader.integer(key);
    constexpr std::int64_t largest = std::int64_t{1} << 24;  // as of a deck's
    if (size < 1 || size > largest)
        reader.fail_key(key, fmt::format("is {} (must be 1 to {}); correct it", size, largest));
    return size;
}

std::int64_t read_head_size(ConfigReader& reader, Family const& family, ModelConfig const& model) {
    // GPT-NeoX has no such key: one that says something is not read by transformers either.
    if (!family.fused_query_key_value) {
        if (reader.has("head_dim")) return read_size(reader, "head_dim");
        if (family.head_size > 0 && !reader.mentions("head_dim")) return family.head_size;
    }
    if (model.hidden % model.heads != 0)
        reader.fail_key("hidden_size", "is no multiple of num_attention_heads, and there is no head_dim; correct it");
    return model.hidden / model.heads;
}

void read_sizes(ConfigReader& reader, Family const& family, ModelConfig& model) {
    model.layers = read_size(reader, "num_hidden_layers");
    model.hidden = read_size(reader, "hidden_size");
    model.heads = read_size(reader, "num_attention_heads");
    model.ffn = read_size(reader, "intermediate_size");
    model.vocabulary = read_size(reader, "vocab_size");
    model.head_size = read_head_size(reader, family, model);
}

void refuse_other_kinds(ConfigReader& reader) {
    reader.refuse("quantization_config", "quantized weights");
    reader.refuse("is_encoder_decoder", "an encoder");
    reader.refuse("add_cross_attention", "an encoder");
    reader.refuse("pruned_heads", "a model without some of its heads");
    reader.refuse("auto_map", "a model by code of its own");
}

std::string name_of_dtype(io::StoredType weights) {
    return weights == io::StoredType::f32 ? "float32" : weights == io::StoredType::f16 ? "float16" : "bfloat16";
}

json::object describe(Family const& family, ModelConfig const& model, io::StoredType weights,
                      SpecialTokens const& special) {
    json::object config = {{"architectures", json::array{json::string(family.architecture)}},
                           {"model_type", json::string(family.model_type)},
                           {"hidden_size", model.hidden},
                           {"intermediate_size", model.ffn},
                           {"num_hidden_layers", model.layers},
                           {"num_attention_heads", model.heads},
                           {"head_dim", model.head_size},
                           {"vocab_size", model.vocabulary},
                           {"rope_theta", model.rotary_base},
                           {"torch_dtype", json::string(name_of_dtype(weights))}};
    if (model.rotary_scaling != RotaryScaling::none) {
        json::object scaling = {{"rope_type", name_of(model.rotary_scaling)}, {"factor", model.rotary_scaling_factor}};
        if (model.rotary_scaling == RotaryScaling::llama3) {
            scaling["low_freq_factor"] = model.rotary_low_frequency_factor;
            scaling["high_freq_factor"] = model.rotary_high_frequency_factor;
            scaling["original_max_position_embeddings"] = model.rotary_original_context;
        }
        config["rope_scaling"] = std::move(scaling);
    }
    auto const id = [&](char const* key, Token token) {
        if (token >= 0) config[key] = token;
    };
    id("bos_token_id", special.begin);
    id("eos_token_id", special.end_of_answer);
    id("pad_token_id", special.padding);
    family.write(model, config);
    return config;
}

void append_pretty(std::string& text, json::value const& value, std::size_t depth) {
    std::string const indent(2 * depth + 2, ' ');
    bool const is_object = value.is_object() && !value.get_object().empty();
    if (!is_object && !(value.is_array() && !value.get_array().empty())) {
        text += json::serialize(value);
        return;
    }
    text += is_object ? "{" : "[";
    char const* separator = "\n";
    auto const next = [&] {
        text += separator + indent;
        separator = ",\n";
    };
    if (is_object)
        for (auto const& entry : value.get_object()) {
            next();
            text += json::serialize(json::value(entry.key())) + ": ";
            append_pretty(text, entry.value(), depth + 1);
        }
    else
        for (json::value const& entry : value.get_array()) {
            next();
            append_pretty(text, entry, depth + 1);
        }
    text += "\n" + std::string(2 * depth, ' ') + (is_object ? "}" : "]");
}

// An object over several lines, as transformers writes it.
std::string pretty(json::value const& value) {
    std::string text;
    append_pretty(text, value, 0);
    return text;
}

FolderConfig read_object(json::object const& object, std::string const& where, io::StoredType weights,
                         std::vector<std::string> const& ignored) {
    ConfigReader reader(object, where);
    FolderConfig config;
    config.family = &family_named(reader.text("model_type"), where);
    for (std::string const& key : ignored) reader.skip(key);
    for (char const* const key : harmless) reader.skip(key);
    refuse_other_kinds(reader);
    read_sizes(reader, *config.family, config.model);
    read_rotary(reader, *config.family, config.model);
    config.family->read(reader, config.model);
    if (config.family->scales_embedding)
        config.model.embedding_scale = rounded_to(weights, std::sqrt(static_cast<double>(config.model.hidden)));
    reader.finish();
    config.special = {read_id(reader, object, "eos_token_id"), read_id(reader, object, "bos_token_id"),
                      read_id(reader, object, "pad_token_id")};
    try {
        validate(config.model);
    } catch (Error const& error) {
        fail(ExitCode::bad_data, "{} describes a model that this version does not have: {}", where, error.what());
    }
    return config;
}

}  // namespace

FolderConfig read_config(std::string const& text, std::string const& where, io::StoredType weights,
                         std::vector<std::string> const& ignored) {
    json::value const parsed = parse(text, where);
    return read_object(parsed.get_object(), where, weights, ignored);
}

std::string write_config(ModelConfig const& model, io::StoredType weights, SpecialTokens const& special) {
    for (Family const& family : families()) {
        json::object const config = describe(family, model, weights, special);
        try {
            if (read_object(config, "the config.json", weights, {}).model == model) return pretty(config) + "\n";
        } catch (Error const&) {
            continue;  // the family cannot say what the model is
        }
    }
    fail(ExitCode::bad_data,
         "no family of Hugging Face's that this version knows has a model like this one; see its [model] table with "
         "selvage info");
}

std::string with_dtype(std::string const& text, io::StoredType weights) {
    json::value config = parse(text, "config.json");
    json::object& object = config.get_object();
    for (char const* const key : {"torch_dtype", "dtype"})
        if (object.contains(key)) object[key] = name_of_dtype(weights);
    return pretty(config) + "\n";
}

}  // namespace selvage::huggingface

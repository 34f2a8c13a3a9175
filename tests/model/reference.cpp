// SPDX-License-Identifier: Apache-2.0
#include "model/reference.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace selvage::test {
namespace {

template <class T>
T take(std::istream& in) {
    T value{};
    in.read(reinterpret_cast<char*>(&value), sizeof(T));
    return value;
}

std::string take_bytes(std::istream& in, std::size_t count) {
    std::string bytes(count, '\0');
    in.read(bytes.data(), static_cast<std::streamsize>(count));
    return bytes;
}

}  // namespace

ReferenceFile read_reference(std::filesystem::path const& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in || take_bytes(in, 8) != "SELVREF1") throw std::runtime_error("no reference file " + path.string());
    constexpr std::size_t sizes[] = {4, 8, 4, 1};
    ReferenceFile file;
    for (auto count = take<std::int32_t>(in); count > 0; --count) {
        auto const name = take_bytes(in, static_cast<std::size_t>(take<std::int32_t>(in)));
        ReferenceTensor tensor;
        tensor.type = take<std::int32_t>(in);
        tensor.dims.resize(static_cast<std::size_t>(take<std::int32_t>(in)));
        std::size_t elements = 1;
        for (std::int64_t& dim : tensor.dims) elements *= static_cast<std::size_t>(dim = take<std::int64_t>(in));
        tensor.bytes = take_bytes(in, elements * sizes[tensor.type]);
        file[name] = std::move(tensor);
    }
    if (!in) throw std::runtime_error("short reference file " + path.string());
    return file;
}

ModelConfig config_of(ReferenceFile const& file) {
    std::map<std::string, std::string> keys;
    std::istringstream text(file.at("config").bytes);
    for (std::string key, value; text >> key >> value;) keys[key] = value;
    auto const integer = [&](char const* key) { return std::stoll(keys.at(key)); };
    auto const number = [&](char const* key) { return std::stod(keys.at(key)); };
    auto const flag = [&](char const* key) { return keys.at(key) == "true"; };
    ModelConfig config;
    config.layers = integer("layers");
    config.hidden = integer("hidden");
    config.heads = integer("heads");
    config.kv_heads = integer("kv_heads");
    config.head_size = integer("head_size");
    config.ffn = integer("ffn");
    config.vocabulary = integer("vocabulary");
    config.norm = keys.at("norm") == "rmsnorm" ? NormKind::rmsnorm : NormKind::layernorm;
    config.norm_epsilon = number("norm_epsilon");
    for (ActivationKind kind : {ActivationKind::swiglu, ActivationKind::geglu, ActivationKind::gelu,
                                ActivationKind::geglu_erf, ActivationKind::gelu_erf})
        if (keys.at("activation") == name_of(kind)) config.activation = kind;
    config.rotary_base = number("rotary_base");
    config.rotary_fraction = number("rotary_fraction");
    config.tied = flag("tied");
    config.attention_bias = flag("attention_bias");
    config.output_bias = flag("output_bias");
    config.mlp_bias = flag("mlp_bias");
    config.parallel_residual = flag("parallel_residual");
    // What a file leaves out is as usual.
    auto const flags = [&](char const* key, bool& to) { to = keys.contains(key) && flag(key); };
    auto const sizes = [&](char const* key, std::int64_t& to) { to = keys.contains(key) ? integer(key) : to; };
    auto const numbers = [&](char const* key, double& to) { to = keys.contains(key) ? number(key) : to; };
    flags("query_key_norm", config.query_key_norm);
    flags("post_norm", config.post_norm);
    flags("norm_offset", config.norm_offset);
    numbers("embedding_scale", config.embedding_scale);
    numbers("attention_scale", config.attention_scale);
    numbers("attention_softcap", config.attention_softcap);
    numbers("logit_softcap", config.logit_softcap);
    sizes("sliding_window", config.sliding_window);
    sizes("sliding_period", config.sliding_period);
    for (RotaryScaling kind : {RotaryScaling::linear, RotaryScaling::llama3})
        if (keys["rotary_scaling"] == name_of(kind)) config.rotary_scaling = kind;
    numbers("rotary_scaling_factor", config.rotary_scaling_factor);
    numbers("rotary_low_frequency_factor", config.rotary_low_frequency_factor);
    numbers("rotary_high_frequency_factor", config.rotary_high_frequency_factor);
    sizes("rotary_original_context", config.rotary_original_context);
    return config;
}

}  // namespace selvage::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>

namespace selvage {

enum class NormKind : std::uint8_t { rmsnorm, layernorm };
// gelu and geglu: by the approximation with tanh; gelu_erf and geglu_erf: by the error function.
enum class ActivationKind : std::uint8_t { swiglu, geglu, gelu, geglu_erf, gelu_erf };
// How the rotary embedding's frequencies are stretched to contexts longer than the model was first made for.
enum class RotaryScaling : std::uint8_t { none, linear, llama3 };

// A decoder-only transformer. Pre-norm; parallel_residual adds attention and MLP of the same input (GPT-NeoX).
struct ModelConfig {
    std::int64_t layers = 4;
    std::int64_t hidden = 256;
    std::int64_t heads = 4;
    std::int64_t kv_heads = 4;
    std::int64_t head_size = 64;
    std::int64_t ffn = 704;
    std::int64_t vocabulary = 0;  // 0: the tokenizer's size rounded up to a multiple of 64
    NormKind norm = NormKind::rmsnorm;
    double norm_epsilon = 1e-5;
    ActivationKind activation = ActivationKind::swiglu;
    double rotary_base = 10000;
    double rotary_fraction = 1;   // share of each head's dims that is turned
    bool tied = true;             // output projection = embedding table
    bool attention_bias = false;  // biases of query, key, value
    bool output_bias = false;     // bias of the attention's output projection
    bool mlp_bias = false;
    bool parallel_residual = false;
    bool query_key_norm = false;      // RMSNorm of each head's query and key, before they are turned
    bool post_norm = false;           // a norm of each branch's output too, before it is added to the residual stream
    bool norm_offset = false;         // norms multiply by 1 + weight
    double embedding_scale = 1;       // embeddings are multiplied by it
    double attention_scale = 0;       // scores are multiplied by it; 0: 1 / sqrt(head_size)
    double attention_softcap = 0;     // scores s become cap * tanh(s / cap); 0: they stay
    double logit_softcap = 0;         // the same for logits
    std::int64_t sliding_window = 0;  // a query sees this many keys, itself the last; 0: all
    std::int64_t sliding_period = 0;  // of so many layers in a row the last one sees all keys; 0: none does
    RotaryScaling rotary_scaling = RotaryScaling::none;
    double rotary_scaling_factor = 1;         // linear, llama3: slow frequencies are divided by it
    double rotary_low_frequency_factor = 1;   // llama3: frequencies with fewer turns in the original context are slow
    double rotary_high_frequency_factor = 4;  // llama3: those with more turns stay
    std::int64_t rotary_original_context = 8192;  // llama3
    bool operator==(ModelConfig const&) const = default;
};

// Throws Error(bad_data) naming the key where a size is out of range or sizes do not fit together (heads not a multiple
// of kv_heads, odd rotated dims, a key that another one rules out). A vocabulary of 0 is allowed: it is resolved later.
void validate(ModelConfig const& config);

// Sets a vocabulary of 0 from the tokenizer's number of pieces; Error(bad_data) if it is below that number.
ModelConfig resolve_vocabulary(ModelConfig config, std::int64_t pieces);

// Leading dims of each head that are turned: the whole part of rotary_fraction * head_size.
std::int64_t rotated_dims(ModelConfig const& config);

// Keys that a query of a layer sees; 0: all.
std::int64_t sliding_window(ModelConfig const& config, std::int64_t layer);

// Whether the MLP has a gate.
inline bool gated(ModelConfig const& config) {
    return config.activation != ActivationKind::gelu && config.activation != ActivationKind::gelu_erf;
}

char const* name_of(NormKind norm);
char const* name_of(ActivationKind activation);
char const* name_of(RotaryScaling scaling);

// The config as a TOML [model] table with every key; files carry it as an attribute.
std::string to_toml(ModelConfig const& config);

}  // namespace selvage

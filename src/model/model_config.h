// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>

namespace selvage {

enum class NormKind : std::uint8_t { rmsnorm, layernorm };
enum class ActivationKind : std::uint8_t { swiglu, geglu, gelu };

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
    bool operator==(ModelConfig const&) const = default;
};

// Throws Error(bad_data) naming the key where a size is out of range or sizes do not fit together (heads not a multiple
// of kv_heads, odd rotated dims). A vocabulary of 0 is allowed: it is resolved later.
void validate(ModelConfig const& config);

// Sets a vocabulary of 0 from the tokenizer's number of pieces; Error(bad_data) if it is below that number.
ModelConfig resolve_vocabulary(ModelConfig config, std::int64_t pieces);

// Leading dims of each head that are turned: the whole part of rotary_fraction * head_size.
std::int64_t rotated_dims(ModelConfig const& config);

char const* name_of(NormKind norm);
char const* name_of(ActivationKind activation);

// The config as a TOML [model] table with every key; files carry it as an attribute.
std::string to_toml(ModelConfig const& config);

}  // namespace selvage

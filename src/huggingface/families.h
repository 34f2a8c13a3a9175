// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to huggingface: what each family of models calls its weights and its keys, one small table a family.
#include <span>
#include <string_view>

#include "huggingface/config_reader.h"
#include "model/model_config.h"

namespace selvage::huggingface {

// A parameter without ".weight" or ".bias", and the tensor that it is; * stands for the layer.
struct NamePair {
    std::string_view ours;
    std::string_view theirs;
};

struct Family {
    std::string_view model_type;      // of config.json
    std::string_view architecture;    // likewise
    std::span<NamePair const> names;  // where they differ from Llama's
    // query, key and value are rows of one tensor: those of the first head's query, key and value, of the second's, ...
    bool fused_query_key_value = false;
    bool scales_embedding = false;  // by sqrt(hidden)
    std::int64_t head_size = 0;     // where config.json does not say; 0: hidden / heads
    // The keys of config.json that are the family's own; `model` has those that all families have.
    void (*read)(ConfigReader& reader, ModelConfig& model);
    // The same into a config.json.
    void (*write)(ModelConfig const& model, json::object& config);
};

std::span<Family const> families();
// Error (bad_data) for a model_type that is not in the table.
Family const& family_named(std::string_view model_type, std::string_view where);

// The tensor of a parameter.
std::string_view theirs(Family const& family, std::string_view ours);

}  // namespace selvage::huggingface

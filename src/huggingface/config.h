// SPDX-License-Identifier: Apache-2.0
#pragma once
// config.json of a folder of the transformers library, and the configuration of a model.
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "model/model_config.h"
#include "text/tokenizer.h"

namespace selvage::huggingface {

struct Family;

struct FolderConfig {
    Family const* family = nullptr;
    ModelConfig model;
    // bos_token_id, pad_token_id and the (first) eos_token_id; -1: none
    SpecialTokens special;
};

// Reads the text of a config.json as transformers 4 and 5 write it. `weights` is the type of the embedding table: Gemma
// scales embeddings by a number of that type. `ignored` keys are taken for harmless. Errors (bad_data) begin with
// `where` and name the key: missing, of another type, something that is not supported, or a key that is not known.
FolderConfig read_config(std::string const& text, std::string const& where, io::StoredType weights,
                         std::vector<std::string> const& ignored);

// The config.json of a model that came from no folder, of the first family that describes it. Error (bad_data): none
// does.
std::string write_config(ModelConfig const& model, io::StoredType weights, SpecialTokens const& special);

// The text with the type of the weights replaced.
std::string with_dtype(std::string const& text, io::StoredType weights);

}  // namespace selvage::huggingface

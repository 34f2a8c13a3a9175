// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to huggingface: the tokenizer files of a folder.
#include <map>
#include <string>

#include "text/tokenizer.h"

namespace selvage::huggingface {

using Files = std::map<std::string, std::string>;  // by name

// In this order: a sentencepiece tokenizer.model, where it has all ids; the pieces of tokenizer.json, which decode
// only; without either ids that stand for nothing. `special` is what config.json says: tokenizer_config.json and
// special_tokens_map.json go before it. `end_of_answer` (-1: not given) goes before all of them. Errors (bad_data)
// begin with `where`: damaged files, no token that ends an answer.
TokenizerTable read_tokenizer(Files const& files, std::string const& where, SpecialTokens special,
                              std::int64_t vocabulary, Token end_of_answer);

}  // namespace selvage::huggingface

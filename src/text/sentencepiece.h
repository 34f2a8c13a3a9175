// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to text/: the tokenizer on libsentencepiece.
#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace selvage::text {

// `model` is a serialized sentencepiece model; `where` opens error messages (bad_data: not such a model, or one without
// an end-of-sentence piece).
std::unique_ptr<Tokenizer> make_sentencepiece(std::string model, std::string const& where);

// The bytes of the pieces, one after the other; ids outside the table give nothing.
std::string join_pieces(TokenizerTable const& table, std::span<Token const> tokens);

}  // namespace selvage::text

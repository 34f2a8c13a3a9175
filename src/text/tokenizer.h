// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/records.h"

namespace selvage {

struct SpecialTokens {
    Token end_of_answer = -1;
    Token begin = -1;    // -1: none
    Token padding = -1;  // -1: none
    bool contains(Token id) const { return id >= 0 && (id == end_of_answer || id == begin || id == padding); }
    bool operator==(SpecialTokens const&) const = default;
};

// What is stored in a data file under /tokenizer, enough to decode any tokenizer's ids without its library, and to
// encode again with the tokenizers that Selvage knows.
struct TokenizerTable {
    std::string kind;                 // "bytes", "sentencepiece", or another program's name for a decode-only table
    std::vector<std::string> pieces;  // bytes that id i stands for; special tokens are empty
    SpecialTokens special;
    std::string model;  // sentencepiece: the serialized model; else empty
    // Texts with their ids, given along by a program that knows the tokenizer: all that a table for decoding encodes.
    std::map<std::string, std::vector<Token>> phrases = {};
    // Whether ids mean the same text, and an answer ends alike, whatever library it goes by.
    bool reads_as(TokenizerTable const& other) const {
        return pieces == other.pieces && special.end_of_answer == other.special.end_of_answer;
    }
    // Phrases do not count.
    bool operator==(TokenizerTable const& other) const {
        return kind == other.kind && pieces == other.pieces && special == other.special && model == other.model;
    }
};

class Tokenizer {
  public:
    virtual ~Tokenizer() = default;
    // Text to ids, nothing put in front or behind. Throws Error(bad_data) for a decode-only table that does not have
    // the text among its phrases.
    virtual std::vector<Token> encode(std::string_view text) const = 0;
    // Ids to bytes; special tokens vanish. Ids outside the table decode to nothing. Invalid UTF-8 is passed through.
    virtual std::string decode(std::span<Token const> tokens) const = 0;
    virtual TokenizerTable const& table() const = 0;

    std::int32_t size() const { return static_cast<std::int32_t>(table().pieces.size()); }
    SpecialTokens const& special() const { return table().special; }
};

// `name` is "bytes" or the path of a sentencepiece .model file.
// Errors: missing_input (no such file), bad_data (not a sentencepiece model).
std::unique_ptr<Tokenizer> open_tokenizer(std::string const& name);
// Of the bytes of such a file; `where` opens error messages.
std::unique_ptr<Tokenizer> open_sentencepiece(std::string model, std::string const& where);
std::unique_ptr<Tokenizer> make_tokenizer(TokenizerTable table);

}  // namespace selvage

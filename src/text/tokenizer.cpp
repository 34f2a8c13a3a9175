// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "text/sentencepiece.h"

namespace selvage {
namespace text {

std::string join_pieces(TokenizerTable const& table, std::span<Token const> tokens) {
    std::string bytes;
    for (Token const id : tokens) {
        if (id < 0 || static_cast<std::size_t>(id) >= table.pieces.size() || table.special.contains(id)) continue;
        bytes += table.pieces[static_cast<std::size_t>(id)];
    }
    return bytes;
}

namespace {

constexpr Token byte_count = 256;  // and the id of end-of-answer

TokenizerTable bytes_table() {
    TokenizerTable table;
    table.kind = "bytes";
    for (Token id = 0; id < byte_count; ++id) table.pieces.emplace_back(1, static_cast<char>(id));
    table.pieces.emplace_back();
    table.special.end_of_answer = byte_count;
    return table;
}

class ByteTokenizer final : public Tokenizer {
  public:
    std::vector<Token> encode(std::string_view text) const override {
        std::vector<Token> tokens;
        tokens.reserve(text.size() + 1);
        for (char const byte : text) tokens.push_back(static_cast<unsigned char>(byte));
        return tokens;
    }
    std::string decode(std::span<Token const> tokens) const override { return join_pieces(table_, tokens); }
    TokenizerTable const& table() const override { return table_; }

  private:
    TokenizerTable table_ = bytes_table();
};

class DecodeOnlyTokenizer final : public Tokenizer {
  public:
    explicit DecodeOnlyTokenizer(TokenizerTable table) : table_(std::move(table)) {}
    std::vector<Token> encode(std::string_view text) const override {
        if (text.empty()) return {};
        if (auto const found = table_.phrases.find(std::string(text)); found != table_.phrases.end())
            return found->second;
        fail(ExitCode::bad_data,
             "'{}' cannot be encoded (the table of its tokenizer, kind \"{}\", is for decoding, with {} phrases); give "
             "prompts as --prompt-ids or a data file; a text for weave.rac.template must be one of the data's phrases "
             "(inputs/huggingface/prepare.py --phrase) or \"\"",
             text.substr(0, 60), table_.kind, table_.phrases.size());
    }
    std::string decode(std::span<Token const> tokens) const override { return join_pieces(table_, tokens); }
    TokenizerTable const& table() const override { return table_; }

  private:
    TokenizerTable table_;
};

void check_table(TokenizerTable const& table) {
    auto const size = static_cast<std::int64_t>(table.pieces.size());
    auto const damaged = [&](std::string const& what) {
        fail(ExitCode::bad_data, "damaged tokenizer table (kind \"{}\", {} pieces): {}; write the file again",
             table.kind, size, what);
    };
    if (table.kind.empty()) damaged("it has no kind");
    if (size == 0) damaged("it has no pieces");
    auto const check_id = [&](char const* name, Token id, Token least) {
        if (id < least || id >= size) damaged(fmt::format("the {} id is {}", name, id));
    };
    check_id("end-of-answer", table.special.end_of_answer, 0);
    check_id("begin", table.special.begin, -1);
    check_id("padding", table.special.padding, -1);
    for (auto const& [text, ids] : table.phrases)
        for (Token const id : ids) check_id("phrase's", id, 0);
}

void check_same(TokenizerTable const& stored, TokenizerTable const& expected) {
    if (stored.special != expected.special)
        fail(ExitCode::bad_data,
             "damaged tokenizer table: its special ids are not those of its kind \"{}\"; write the "
             "file again",
             stored.kind);
    if (stored.pieces.size() != expected.pieces.size())
        fail(ExitCode::bad_data, "damaged tokenizer table: {} pieces instead of {} (kind \"{}\"); write the file again",
             stored.pieces.size(), expected.pieces.size(), stored.kind);
    for (std::size_t id = 0; id < stored.pieces.size(); ++id)
        if (stored.pieces[id] != expected.pieces[id])
            fail(ExitCode::bad_data,
                 "damaged tokenizer table: piece {} is not that of its kind \"{}\"; write the file again", id,
                 stored.kind);
}

std::string read_file(std::string const& path) {
    if (!std::filesystem::exists(path))
        fail(ExitCode::missing_input,
             "{}: no such tokenizer (neither bytes nor a file); give the path of a "
             "sentencepiece .model file",
             path);
    if (std::filesystem::is_directory(path))
        fail(ExitCode::bad_data, "{}: a folder, not a sentencepiece model; give the .model file in it", path);
    std::ifstream file(path, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file) fail(ExitCode::io, "{}: cannot be read; check its permissions", path);
    return content;
}

}  // namespace
}  // namespace text

std::unique_ptr<Tokenizer> open_tokenizer(std::string const& name) {
    if (name == "bytes") return std::make_unique<text::ByteTokenizer>();
    return text::make_sentencepiece(text::read_file(name), name);
}

std::unique_ptr<Tokenizer> open_sentencepiece(std::string model, std::string const& where) {
    return text::make_sentencepiece(std::move(model), where);
}

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerTable table) {
    text::check_table(table);
    std::unique_ptr<Tokenizer> made;
    if (table.kind == "bytes")
        made = std::make_unique<text::ByteTokenizer>();
    else if (table.kind == "sentencepiece" && !table.model.empty())
        made = text::make_sentencepiece(table.model, "the model in the tokenizer table");
    else
        return std::make_unique<text::DecodeOnlyTokenizer>(std::move(table));
    text::check_same(table, made->table());
    return made;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "io/tokenizer_group.h"

#include <limits>

namespace selvage::io {
namespace {

constexpr std::string_view phrase_group = "/tokenizer/phrases";

std::string phrase_name(std::size_t i) { return fmt::format("{}/{}", phrase_group, i); }

void write_phrases(FileWriter& file, TokenizerTable const& table) {
    if (table.phrases.empty()) return;
    file.group(std::string(phrase_group));
    std::size_t i = 0;
    for (auto const& [text, ids] : table.phrases) {
        std::string const name = phrase_name(i++);
        file.array(name, Element::i32, {"token ids of the text in the attribute text", "token id"},
                   {static_cast<std::int64_t>(ids.size())}, ids.data());
        file.text_attribute(name, "text", text);
    }
}

std::map<std::string, std::vector<Token>> read_phrases(FileReader const& file) {
    std::map<std::string, std::vector<Token>> phrases;
    if (!file.exists(std::string(phrase_group))) return phrases;
    for (std::size_t i = 0; file.exists(phrase_name(i)); ++i) {
        auto const text = file.text_attribute(phrase_name(i), "text");
        if (!text) file.fail_at(phrase_name(i), "without the attribute text");
        phrases[*text] = file.values<Token>(phrase_name(i));
    }
    return phrases;
}

Token special_token(FileReader const& file, std::string const& name, std::size_t pieces) {
    std::int64_t const id = file.integer_attribute("/tokenizer", name).value_or(-1);
    if (id < -1 || id >= static_cast<std::int64_t>(pieces))
        file.fail_at("/tokenizer attribute " + name, fmt::format("{}, outside of {} pieces", id, pieces));
    return static_cast<Token>(id);
}

}  // namespace

void check_length(FileReader const& file, std::string const& name, std::size_t length, std::size_t expected) {
    if (length != expected) file.fail_at(name, fmt::format("of {} elements where {} are needed", length, expected));
}

void check_offsets(FileReader const& file, std::string const& name, std::vector<std::int64_t> const& offsets,
                   std::size_t total) {
    if (offsets.empty() || offsets[0] != 0) file.fail_at(name, "not starting with 0");
    for (std::size_t i = 1; i < offsets.size(); ++i)
        if (offsets[i] < offsets[i - 1])
            file.fail_at(name, fmt::format("falling at {} (from {} to {})", i, offsets[i - 1], offsets[i]));
    if (offsets.back() != static_cast<std::int64_t>(total))
        file.fail_at(name, fmt::format("ending with {}, not with {}", offsets.back(), total));
}

std::int64_t tokenizer_bytes(TokenizerTable const& table) {
    std::size_t bytes = table.model.size() + 8 * table.pieces.size() + 8;
    for (std::string const& piece : table.pieces) bytes += piece.size();
    for (auto const& [text, ids] : table.phrases) bytes += 2048 + text.size() + 4 * ids.size();  // a dataset each
    return static_cast<std::int64_t>(bytes);
}

void write_tokenizer(FileWriter& file, TokenizerTable const& table) {
    std::vector<std::uint8_t> bytes;
    std::vector<std::int64_t> offsets = {0};
    for (std::string const& piece : table.pieces) {
        bytes.insert(bytes.end(), piece.begin(), piece.end());
        offsets.push_back(static_cast<std::int64_t>(bytes.size()));
    }
    file.group("/tokenizer");
    file.text_attribute("/tokenizer", "kind", table.kind);
    file.int32_attribute("/tokenizer", "end_of_answer", table.special.end_of_answer);
    file.int32_attribute("/tokenizer", "begin", table.special.begin);
    file.int32_attribute("/tokenizer", "padding", table.special.padding);
    file.column("/tokenizer/pieces", bytes);
    file.column("/tokenizer/piece_offsets", offsets);
    file.column("/tokenizer/model", std::vector<std::uint8_t>(table.model.begin(), table.model.end()));
    write_phrases(file, table);
}

TokenizerTable read_tokenizer(FileReader const& file) {
    if (!file.is_group("/tokenizer")) file.fail_at("/tokenizer", "not there");
    auto const bytes = file.values<std::uint8_t>("/tokenizer/pieces");
    auto const offsets = file.values<std::int64_t>("/tokenizer/piece_offsets");
    check_offsets(file, "/tokenizer/piece_offsets", offsets, bytes.size());
    TokenizerTable table;
    table.kind = file.text_attribute("/tokenizer", "kind").value_or("table");
    table.pieces.reserve(offsets.size() - 1);
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
        table.pieces.emplace_back(bytes.begin() + offsets[i], bytes.begin() + offsets[i + 1]);
    table.special.end_of_answer = special_token(file, "end_of_answer", table.pieces.size());
    table.special.begin = special_token(file, "begin", table.pieces.size());
    table.special.padding = special_token(file, "padding", table.pieces.size());
    if (file.exists("/tokenizer/model")) {
        auto const model = file.values<std::uint8_t>("/tokenizer/model");
        table.model.assign(model.begin(), model.end());
    }
    table.phrases = read_phrases(file);
    return table;
}

}  // namespace selvage::io

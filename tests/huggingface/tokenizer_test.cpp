// SPDX-License-Identifier: Apache-2.0
#include "huggingface/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "support/test_main.h"

namespace selvage::huggingface {
namespace {

using testing::HasSubstr;

constexpr char const* byte_level = R"({"added_tokens": [{"id": 4, "content": "<|end|>", "special": true},
  {"id": 5, "content": "[extra]", "special": false}], "decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]},
  "model": {"type": "BPE", "vocab": {"a": 0, "\u0120b": 1, "\u00c3\u00a9": 2, "\u010a": 3}, "merges": []}})";
constexpr char const* fallback = R"({"decoder": {"type": "Sequence", "decoders": [{"type": "Replace",
  "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
  {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}, "added_tokens": [{"id": 0, "content": "</s>", "special": true}],
  "model": {"type": "BPE", "vocab": {"</s>": 0, "\u2581the\u2581": 1, "<0xC3>": 2, "<0xG3>": 3}}})";

std::string refusal(Files const& files, SpecialTokens special = {}) {
    try {
        read_tokenizer(files, "folder", special, 8, -1);
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        return error.what();
    }
    return "accepted";
}

TEST(FolderTokenizer, PiecesOfByteLevelBpe) {
    Files const files = {{"tokenizer.json", byte_level},
                         {"tokenizer_config.json", R"({"eos_token": {"content": "<|end|>"}, "pad_token": "nothing"})"}};
    TokenizerTable const table = read_tokenizer(files, "folder", {2, -1, -1}, 8, -1);
    EXPECT_THAT(table.pieces, testing::ElementsAre("a", " b", "\xc3\xa9", "\n", "", "[extra]"));
    EXPECT_EQ(table.special, (SpecialTokens{4, -1, -1}));
    EXPECT_EQ(make_tokenizer(table)->decode(std::vector<Token>{0, 1, 2, 3, 4, 5}), "a b\xc3\xa9\n[extra]");
    EXPECT_EQ(read_tokenizer(files, "folder", {2, -1, -1}, 8, 3).special.end_of_answer, 3);
}

TEST(FolderTokenizer, PiecesWithByteFallback) {
    TokenizerTable const table = read_tokenizer({{"tokenizer.json", fallback}}, "folder", {0, -1, -1}, 8, -1);
    EXPECT_THAT(table.pieces, testing::ElementsAre("", " the ", "\xc3", "<0xG3>"));
}

std::string sentencepiece_model() {
    std::ifstream file(selvage::test::files() / "reference/huggingface/llama2/tokenizer.model", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Where it has all ids and ends answers as the folder does; else tokenizer.json goes before it.
TEST(FolderTokenizer, SentencepieceEncodesToo) {
    Files files = {{"tokenizer.model", sentencepiece_model()}};
    TokenizerTable const table = read_tokenizer(files, "folder", {}, 96, -1);
    EXPECT_EQ(table.kind, "sentencepiece");
    EXPECT_EQ(table.special.end_of_answer, 2);
    EXPECT_EQ(make_tokenizer(table)->decode(make_tokenizer(table)->encode("the models read")), "the models read");
    files["tokenizer.json"] = fallback;
    EXPECT_EQ(read_tokenizer(files, "folder", {2, -1, -1}, 96, -1).kind, "sentencepiece");
    EXPECT_EQ(read_tokenizer(files, "folder", {0, -1, -1}, 96, -1).kind, "huggingface");
    std::string more = fallback;
    more.replace(more.find("\"<0xG3>\": 3"), 11, "\"<0xG3>\": 95");
    files["tokenizer.json"] = more;
    EXPECT_EQ(read_tokenizer(files, "folder", {2, -1, -1}, 96, -1).kind, "huggingface");
}

TEST(FolderTokenizer, NoTokenizerIsIdsAlone) {
    TokenizerTable const table = read_tokenizer({}, "folder", {2, 1, -1}, 8, -1);
    EXPECT_EQ(table.kind, "ids");
    EXPECT_EQ(table.pieces.size(), 8U);
    EXPECT_EQ(table.special.end_of_answer, 2);
}

TEST(FolderTokenizer, WhatDoesNotFitIsRefused) {
    EXPECT_THAT(refusal({}), HasSubstr("--end-of-answer"));
    EXPECT_THAT(refusal({}, {8, -1, -1}), HasSubstr("end-of-answer id is 8"));
    EXPECT_THAT(refusal({{"tokenizer.json", "{"}}), HasSubstr("tokenizer.json is no JSON"));
    EXPECT_THAT(refusal({{"tokenizer.json", "{}"}}), HasSubstr("no vocabulary"));
    std::string text = byte_level;
    text.replace(text.find("\"id\": 5"), 7, "\"id\": 8");
    EXPECT_THAT(refusal({{"tokenizer.json", text}}, {0, -1, -1}), HasSubstr("9 ids, config.json a vocab_size of 8"));
    text.replace(text.find("\"id\": 8"), 7, "\"id\": -8");
    EXPECT_THAT(refusal({{"tokenizer.json", text}}, {0, -1, -1}), HasSubstr("an id is no id"));
    text = byte_level;
    text.replace(text.find("\"ByteLevel\""), 11, "\"WordPiece\"");
    EXPECT_THAT(refusal({{"tokenizer.json", text}}, {0, -1, -1}), HasSubstr("decoder WordPiece"));
    EXPECT_THAT(refusal({{"tokenizer.model", "junk"}}, {0, -1, -1}), HasSubstr("not a sentencepiece model"));
}

}  // namespace
}  // namespace selvage::huggingface

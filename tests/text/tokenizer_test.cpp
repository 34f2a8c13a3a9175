// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_trainer.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "support/test_main.h"
#include "text/utf8.h"

namespace selvage {
namespace {

template <class Action>
void expect_error(ExitCode code, std::string const& part, Action&& action) {
    try {
        action();
        ADD_FAILURE() << "no error with \"" << part << '"';
    } catch (Error const& error) {
        EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
        EXPECT_THAT(error.what(), testing::HasSubstr(part));
    }
}

// A small text with enough different words to train 400 pieces on.
std::string training_text() {
    std::string text;
    for (int i = 0; i < 400; ++i)
        text += fmt::format("package {} contains the shared library number {} of a tool for word{} and editing{}\n", i,
                            i * 7, i % 23, i % 31);
    return text;
}

// Trained anew for each set of flags; takes some tens of milliseconds.
class SentencePiece : public testing::Test {
  protected:
    std::string train(std::string const& name, std::string const& flags) {
        std::ofstream(folder_ / "text.txt") << training_text();
        auto const status = sentencepiece::SentencePieceTrainer::Train(
            fmt::format("--input={} --model_prefix={} --vocab_size=400 --hard_vocab_limit=false --byte_fallback=true "
                        "--minloglevel=2 {}",
                        (folder_ / "text.txt").string(), (folder_ / name).string(), flags));
        EXPECT_TRUE(status.ok()) << status.ToString();
        return (folder_ / (name + ".model")).string();
    }
    // As the scripts in inputs/ train it.
    std::string train_exact() {
        return train("exact",
                     "--normalization_rule_name=identity --add_dummy_prefix=false --remove_extra_whitespaces=false "
                     "--unk_id=0 --eos_id=1 --bos_id=-1 --pad_id=-1");
    }
    test::TemporaryFolder folder_;
};

std::vector<std::string> const texts = {
    "the shared library",
    " leading and trailing ",
    "two  spaces   three",
    "line\nline\n\n\tverbatim  text\r\n",
    "caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 \xc2\xa0",
    "12 + 7 = 19\nAnswer: 19",
    "word1",
    "\n\nSynopsis:",
    "<s></s><unk><0x41>",
    std::string("a\0b", 3),
    "",
};

TEST(Bytes, RoundTripOfEveryByte) {
    auto const tokenizer = open_tokenizer("bytes");
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
    auto tokens = tokenizer->encode(all);
    ASSERT_EQ(tokens.size(), 256u);
    for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(tokens[static_cast<std::size_t>(byte)], byte);
    tokens.push_back(256);
    EXPECT_EQ(tokenizer->decode(tokens), all);
    EXPECT_EQ(tokenizer->size(), 257);
    EXPECT_EQ(tokenizer->special(), (SpecialTokens{256, -1, -1}));
    EXPECT_EQ(tokenizer->decode(std::vector<Token>{-1, 'a', 257, 1 << 30, 'b'}), "ab");
}

TEST_F(SentencePiece, RoundTripIsExact) {
    auto const tokenizer = open_tokenizer(train_exact());
    EXPECT_EQ(tokenizer->special(), (SpecialTokens{1, -1, -1}));
    for (auto const& text : texts) {
        auto tokens = tokenizer->encode(text);
        for (Token const id : tokens) EXPECT_FALSE(tokenizer->special().contains(id)) << text;
        EXPECT_EQ(tokenizer->decode(tokens), text);
        tokens.push_back(tokenizer->special().end_of_answer);
        EXPECT_EQ(tokenizer->decode(tokens), text);
    }
    EXPECT_LT(tokenizer->encode(texts[0]).size(), texts[0].size());
}

TEST_F(SentencePiece, PartsDecodeOneByOne) {
    auto const tokenizer = open_tokenizer(train_exact());
    std::string const text = "a tool for editing\nand \xe4\xb8\xad";
    std::string joined;
    for (Token const id : tokenizer->encode(text)) joined += tokenizer->decode(std::vector<Token>{id});
    EXPECT_EQ(joined, text);
}

TEST_F(SentencePiece, AddedPrefixIsTakenAway) {
    auto const tokenizer = open_tokenizer(train("prefix", ""));
    EXPECT_EQ(tokenizer->special(), (SpecialTokens{2, 1, -1}));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode("the shared library")), "the shared library");
}

TEST_F(SentencePiece, TableIsEnough) {
    auto const tokenizer = open_tokenizer(train_exact());
    auto const again = make_tokenizer(tokenizer->table());
    TokenizerTable foreign = tokenizer->table();
    foreign.kind = "another";
    foreign.model.clear();
    auto const decoder = make_tokenizer(foreign);
    EXPECT_EQ(decoder->table(), foreign);
    for (auto const& text : texts) {
        auto const tokens = tokenizer->encode(text);
        EXPECT_EQ(again->encode(text), tokens);
        EXPECT_EQ(decoder->decode(tokens), text);
    }
    expect_error(ExitCode::bad_data, "is for decoding", [&] { decoder->encode("text"); });
    EXPECT_TRUE(decoder->encode("").empty());
}

TEST_F(SentencePiece, ModelsThatAreNone) {
    std::string const path = train_exact();
    expect_error(ExitCode::bad_data, "no end-of-sentence piece", [&] { open_tokenizer(train("none", "--eos_id=-1")); });
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    expect_error(ExitCode::bad_data, path, [&] { open_tokenizer(path); });
    std::ofstream(path) << "this is a text file\n";
    expect_error(ExitCode::bad_data, "not a sentencepiece model", [&] { open_tokenizer(path); });
    std::ofstream(path, std::ios::trunc).close();
    expect_error(ExitCode::bad_data, "not a sentencepiece model", [&] { open_tokenizer(path); });
    expect_error(ExitCode::missing_input, "no such tokenizer", [&] { open_tokenizer(path + ".not"); });
    expect_error(ExitCode::bad_data, "a folder", [&] { open_tokenizer(folder_.path().string()); });
}

TEST_F(SentencePiece, DamagedTables) {
    TokenizerTable const good = open_tokenizer(train_exact())->table();
    auto const damaged = [&](std::string const& part, auto change) {
        TokenizerTable table = good;
        change(table);
        expect_error(ExitCode::bad_data, part, [&] { make_tokenizer(table); });
    };
    damaged("piece 300", [](TokenizerTable& table) { table.pieces[300] += "x"; });
    damaged("pieces instead of", [](TokenizerTable& table) { table.pieces.pop_back(); });
    damaged("special ids", [](TokenizerTable& table) { table.special.padding = 3; });
    damaged("no pieces", [](TokenizerTable& table) { table.pieces.clear(); });
    damaged("no kind", [](TokenizerTable& table) { table.kind.clear(); });
    damaged("not a sentencepiece model", [](TokenizerTable& table) { table.model.resize(100); });
}

TEST(Tables, OneTokenizerByTwoLibrariesReadsTheSame) {
    TokenizerTable const one{"one", {"a", "b", ""}, {2, 1, -1}, "model", {}};
    TokenizerTable other{"other", {"a", "b", ""}, {2, -1, 0}, "", {{"a", {0}}}};
    EXPECT_TRUE(one.reads_as(other));
    EXPECT_FALSE(one == other);
    other.special.end_of_answer = 1;
    EXPECT_FALSE(one.reads_as(other));
    other = one;
    other.pieces[1] = "c";
    EXPECT_FALSE(one.reads_as(other));
}

TEST(Tables, PhrasesAreWhatATableEncodes) {
    TokenizerTable table{"another", {"a", "b", ""}, {2, -1, -1}, "", {{"ba", {1, 0}}, {"\n", {}}}};
    auto const tokenizer = make_tokenizer(table);
    EXPECT_EQ(tokenizer->encode("ba"), (std::vector<Token>{1, 0}));
    EXPECT_TRUE(tokenizer->encode("\n").empty());
    expect_error(ExitCode::bad_data, "'ab' cannot be encoded", [&] { tokenizer->encode("ab"); });
    TokenizerTable const other{"another", {"a", "b", ""}, {2, -1, -1}, "", {}};
    EXPECT_EQ(tokenizer->table(), other);
    table.phrases["b"] = {3};
    expect_error(ExitCode::bad_data, "phrase's id is 3", [&] { make_tokenizer(table); });
}

// Every prefix of a text shows the whole characters that it has; what cannot become one is not held back.
TEST(Utf8, CharactersAreShownWhole) {
    std::string const text = "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80z";
    std::vector<std::size_t> const whole = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
    for (std::size_t i = 0; i <= text.size(); ++i) EXPECT_EQ(whole_characters(text.substr(0, i)), whole[i]) << i;
    for (std::string const broken :
         {"\x80", "a\xff", "\xc3\xa9\xa9", "\xf0\x9f\x98\x80\x80", "\xc0", "\xf5", "\x80\x80\x80\x80"})
        EXPECT_EQ(whole_characters(broken), broken.size());
    EXPECT_EQ(whole_characters("a\xc3\xe4\xb8"), 2u);
}

TEST(Tables, SpecialIdsAreChecked) {
    auto const table = [](SpecialTokens special) { return TokenizerTable{"another", {"a", "b", ""}, special, "", {}}; };
    EXPECT_EQ(make_tokenizer(table({2, -1, -1}))->decode(std::vector<Token>{1, 0, 2}), "ba");
    EXPECT_EQ(make_tokenizer(table({2, 0, 1}))->decode(std::vector<Token>{1, 0, 2}), "");
    for (auto const& special : {SpecialTokens{-1, -1, -1}, {3, -1, -1}, {2, 3, -1}, {2, -2, -1}, {2, -1, 3}})
        expect_error(ExitCode::bad_data, "damaged tokenizer table", [&] { make_tokenizer(table(special)); });
    TokenizerTable bytes = open_tokenizer("bytes")->table();
    EXPECT_EQ(make_tokenizer(bytes)->table(), bytes);
    bytes.pieces[65] = "B";
    expect_error(ExitCode::bad_data, "piece 65", [&] { make_tokenizer(bytes); });
}

}  // namespace
}  // namespace selvage

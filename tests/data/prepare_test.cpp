// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/digest.h"
#include "base/error.h"
#include "base/philox.h"
#include "support/test_main.h"

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

class Prepare : public testing::Test {
  protected:
    std::string path() const { return (folder_ / "text.jsonl").string(); }
    io::DataFile prepare(std::string const& content) {
        std::ofstream(path(), std::ios::binary) << content;
        return prepare_data(path(), *bytes_);
    }
    std::string text(io::DataFile const& file, std::int64_t begin, std::int64_t end) {
        return bytes_->decode(
            std::span(file.tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
    }
    test::TemporaryFolder folder_;
    std::unique_ptr<Tokenizer> bytes_ = open_tokenizer("bytes");
};

std::string const good = R"({"prompt": "ab", "response": "xyz"})";

TEST_F(Prepare, PairsBecomeTokens) {
    std::string const content =
        good + "\n" + R"({"response": "\u00e9\n", "other": [1, {"prompt": 2}], "prompt": "c"})" + "\n";
    auto const file = prepare(content);
    EXPECT_EQ(file.tokens, (std::vector<Token>{'a', 'b', 'x', 'y', 'z', 256, 'c', 0xc3, 0xa9, '\n', 256}));
    EXPECT_EQ(file.offsets, (std::vector<std::int64_t>{0, 6, 11}));
    EXPECT_EQ(file.prompt_length, (std::vector<std::int32_t>{2, 1}));
    EXPECT_EQ(file.tokenizer, bytes_->table());
    EXPECT_EQ(file.attributes.text.at("source"), "text.jsonl");
    EXPECT_EQ(file.attributes.text.at("source_digest"), digest_of(content).hex());
    EXPECT_EQ(file.attributes.integers.at("source_lines"), 2);
    EXPECT_EQ(file.attributes.integers.at("empty_lines"), 0);
}

TEST_F(Prepare, LineEndsAndEmptyLines) {
    auto const plain = prepare(good + "\n" + good + "\n");
    std::string const content = "\xef\xbb\xbf" + good + "\r\n\r\n \t\n\n" + good;
    auto const file = prepare(content);
    EXPECT_EQ(file.tokens, plain.tokens);
    EXPECT_EQ(file.attributes.integers.at("empty_lines"), 3);
    EXPECT_EQ(file.attributes.integers.at("source_lines"), 5);
    EXPECT_EQ(file.attributes.text.at("source_digest"), digest_of(content).hex());
}

TEST_F(Prepare, BadLinesAreNamed) {
    std::vector<std::pair<std::string, std::string>> const lines = {
        {"[1, 2]", "not an object"},
        {"\"prompt\"", "not an object"},
        {"42", "not an object"},
        {"null", "not an object"},
        {R"({"prompt": "a"})", "no key \"response\""},
        {R"({"Prompt": "a", "response": "b"})", "no key \"prompt\""},
        {R"({"prompt": 1, "response": "b"})", "\"prompt\" is not a string"},
        {R"({"prompt": "a", "response": null})", "\"response\" is not a string"},
        {R"({"prompt": "", "response": "b"})", "\"prompt\" is empty"},
        {R"({"prompt": "a", "response": ""})", "\"response\" is empty"},
        {R"({"prompt": "a", "response": "b")", "not a JSON object"},
        {R"({"prompt": "a", "response": "b"}{})", "not a JSON object"},
        {R"({"prompt": "a", "response": "b"} x)", "not a JSON object"},
        {"{'prompt': 'a'}", "not a JSON object"},
        {"prompt,response", "not a JSON object"},
        {"{\"prompt\": \"a\tb\", \"response\": \"b\"}", "not a JSON object"},  // raw control character
        {std::string("{\"prompt\": \"a\0\", \"response\": \"b\"}", 32), "not a JSON object"},
        {"{\"prompt\": \"\xff\", \"response\": \"b\"}", "UTF-8"},
        {"{\"prompt\": \"\xc3\", \"response\": \"b\"}", "UTF-8"},
        {"{\"prompt\": \"\xc0\xaf\", \"response\": \"b\"}", "UTF-8"},          // overlong
        {"{\"prompt\": \"\xed\xa0\x80\", \"response\": \"b\"}", "UTF-8"},      // a surrogate
        {"{\"prompt\": \"\xf4\x90\x80\x80\", \"response\": \"b\"}", "UTF-8"},  // beyond U+10FFFF
        {R"({"prompt": "\ud800", "response": "b"})", "UTF-8"},
        {R"({"prompt": "\ud800x", "response": "b"})", "UTF-8"},
        {R"({"prompt": "\udc00", "response": "b"})", "UTF-8"},
        {R"({"prompt": "\ud800\ud800", "response": "b"})", "UTF-8"},
        {std::string(100000, '['), "not a JSON object"},
    };
    for (auto const& [line, part] : lines) {
        SCOPED_TRACE(line.substr(0, 80));
        expect_error(ExitCode::bad_data, part, [&] { prepare(good + "\n\n" + line + "\n" + good + "\n"); });
        expect_error(ExitCode::bad_data, path() + ":3: ", [&] { prepare(good + "\n\n" + line); });
    }
    EXPECT_EQ(parse_pair(R"({"prompt": "\ud83d\ude00", "response": "\u0000"})", "here").prompt, "\xf0\x9f\x98\x80");
}

TEST_F(Prepare, FilesWithoutPairs) {
    expect_error(ExitCode::bad_data, path() + ": no text pair", [&] { prepare(""); });
    expect_error(ExitCode::bad_data, "no text pair", [&] { prepare("\n \n\r\n"); });
    expect_error(ExitCode::missing_input, "no such file", [&] { prepare_data(path() + ".not", *bytes_); });
    expect_error(ExitCode::bad_data, "a folder", [&] { prepare_data(folder_.path().string(), *bytes_); });
}

// Whatever is done to a line, it is a pair or an error of ours.
TEST_F(Prepare, ChangedBytesNeverEscape) {
    std::string const line = R"({"prompt": "a\u00e9b \ud83d\ude00", "response": "x\\y\n", "n": [1.5e3, true, null]})";
    Random const random(3, Purpose::test);
    int accepted = 0;
    for (std::uint32_t trial = 0; trial < 20000; ++trial) {
        std::string changed = line;
        auto const words = random.words({trial});
        changed[words[0] % changed.size()] = static_cast<char>(words[1]);
        if (words[2] % 2 == 0) changed.resize(words[3] % changed.size());
        try {
            parse_pair(changed, "line");
            ++accepted;
        } catch (Error const& error) {
            ASSERT_EQ(error.code(), ExitCode::bad_data);
        }
    }
    EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace selvage

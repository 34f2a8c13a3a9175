// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/digest.h"
#include "base/error.h"
#include "base/philox.h"
#include "data/jsonl.h"
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
        return prepare_files({path()}, {}).file;
    }
    PreparedData prepare_files(std::vector<std::string> const& inputs, PrepareOptions const& options) {
        return prepare_data(*test::world(), inputs, *bytes_, options);
    }
    // Writes a second file beside path().
    std::string other(std::string const& content) const {
        std::string const name = (folder_ / "other.jsonl").string();
        std::ofstream(name, std::ios::binary) << content;
        return name;
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
        {R"({"messages": 1})", "not a list of messages"},
        {R"({"messages": []})", "not a list of messages"},
        {R"({"messages": ["a"]})", "a message is not an object"},
        {R"({"messages": [{"role": "user"}]})", "no key \"content\" of a message"},
        {R"({"messages": [{"role": "user", "content": ["a"]}]})", "\"content\" of a message is not a string"},
        {R"({"messages": [{"role": "user", "content": ""}]})", "\"content\" of a message is empty"},
        {R"({"messages": [{"role": "poet", "content": "a"}]})", "unknown role"},
        {R"({"messages": [{"role": "user", "content": "a"}]})", "the last message is not the assistant's"},
        {R"({"messages": [{"role": "assistant", "content": "a"}]})", "no message before it"},
        {R"({"messages": [{"role": "assistant", "content": "a", "tool_calls": []}]})", "\"tool_calls\""},
        {R"({"messages": [], "tools": [1]})", "\"tools\""},
        {R"({"messages": [], "prompt": "a"})", "both"},
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
    expect_error(ExitCode::missing_input, "no such file", [&] { prepare_files({path() + ".not"}, {}); });
    expect_error(ExitCode::bad_data, "a folder", [&] { prepare_files({folder_.path().string()}, {}); });
}

TEST_F(Prepare, ConversationsAreLaidOut) {
    TextPair const pair = parse_pair(
        R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4"}, {"role": "user", "content": "+ 1?\n"},
            {"content": "5", "role": "assistant", "tool_calls": null}], "tools": null})",
        "here");
    EXPECT_EQ(pair.prompt, "System:\nBe brief.\n\nUser:\n2 + 2?\n\nAssistant:\n4\n\nUser:\n+ 1?\n\n\nAssistant:\n");
    EXPECT_EQ(pair.response, "5");
}

TEST_F(Prepare, SeveralFilesAreOne) {
    std::string const next = R"({"prompt": "c", "response": "d"})";
    auto const whole = prepare(good + "\n" + next + "\n" + good + "\n");
    prepare(good + "\n");
    std::string const second = other(next + "\n" + good + "\n");
    auto const files = prepare_files({path(), second}, {}).file;
    EXPECT_EQ(files.tokens, whole.tokens);
    EXPECT_EQ(files.offsets, whole.offsets);
    EXPECT_EQ(files.prompt_length, whole.prompt_length);
    EXPECT_EQ(files.attributes.text.at("source"), "text.jsonl, other.jsonl");
    EXPECT_EQ(files.attributes.text.at("source_digest"), whole.attributes.text.at("source_digest"));
    other(next + "\n\nx\n");
    expect_error(ExitCode::bad_data, second + ":3: ", [&] { prepare_files({path(), second}, {}); });
}

std::vector<std::string> texts_of(std::vector<LineList> const& lists) {
    std::vector<std::string> texts;
    for (LineList const& list : lists) {
        texts.push_back(list.what);
        for (auto const& line : list.lines) texts.back() += fmt::format(" {}:{}", line.file, line.number);
    }
    return texts;
}

TEST_F(Prepare, WhatIsLeftOutIsReported) {
    std::ofstream(path()) << good << "\nx\n\n" << good << "\n{\"prompt\": \"a\"}\n";
    std::string const second = other("y\n" + good + "\n" + R"({"prompt": "abc", "response": "defg"})" + "\n" +
                                     R"({"prompt": "a", "response": "bxyz"})");
    PreparedData const kept = prepare_files({path(), second}, {.drop_bad_lines = true});
    EXPECT_THAT(texts_of(kept.report.dropped),
                testing::ElementsAre("not a JSON object in UTF-8 (syntax error) 0:2 1:1", "no key \"response\" 0:5"));
    EXPECT_THAT(texts_of({kept.report.duplicates}), testing::ElementsAre(testing::EndsWith("a line before 0:4 1:2")));
    EXPECT_EQ(kept.report.lines, 9);
    EXPECT_EQ(kept.report.empty_lines, 1);
    EXPECT_EQ(kept.file.pairs(), 5);
    PreparedData const dropped =
        prepare_files({path(), second}, {.drop_bad_lines = true, .drop_duplicates = true, .max_tokens = 7});
    EXPECT_THAT(texts_of(dropped.report.dropped), testing::Contains("more than 7 tokens 1:3"));
    EXPECT_EQ(dropped.file.prompt_length, (std::vector<std::int32_t>{2, 1}));
    EXPECT_EQ(dropped.file.attributes.integers.at("dropped_lines"), 4);
    EXPECT_EQ(dropped.file.attributes.integers.at("duplicates"), 2);
    std::string const text = describe(dropped, {path(), second}, {.drop_duplicates = true});
    for (std::string const& part :
         {fmt::format("dropped, more than 7 tokens: 1\n  {}: 3\n", second),
          fmt::format("a line before: 2\n  {}: 4\n  {}: 2\n", path(), second), std::string("empty lines: 1\n")})
        EXPECT_THAT(text, testing::HasSubstr(part));
}

TEST_F(Prepare, LengthsAreByNearestRank) {
    std::string content;
    for (std::size_t i = 1; i <= 200; ++i)
        content += fmt::format("{{\"prompt\": \"{}\", \"response\": \"b\"}}\n", std::string(i, 'a'));
    prepare(content);
    PreparedData const data = prepare_files({path()}, {.drop_duplicates = true});
    EXPECT_THAT(describe(data, {path()}, {}),
                testing::HasSubstr("    prompt       1     100     180     190     198     200     100.5\n"
                                   "    answer       2       2       2       2       2       2       2.0\n"
                                   "  together       3     102     182     192     200     202     102.5\n"));
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

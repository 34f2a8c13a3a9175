// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace selvage {
namespace {

template <class Action>
void expect_error(std::string const& part, Action&& action) {
    try {
        action();
        ADD_FAILURE() << "no error with \"" << part << '"';
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data) << error.what();
        EXPECT_THAT(error.what(), testing::HasSubstr(part));
    }
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

io::DataFile make_file(Pairs const& pairs) {
    auto const bytes = open_tokenizer("bytes");
    io::DataFile file;
    file.tokenizer = bytes->table();
    file.offsets.push_back(0);
    for (auto const& [prompt, response] : pairs) {
        for (Token const token : bytes->encode(prompt + response)) file.tokens.push_back(token);
        file.tokens.push_back(256);
        file.offsets.push_back(static_cast<std::int64_t>(file.tokens.size()));
        file.prompt_length.push_back(static_cast<std::int32_t>(prompt.size()));
    }
    return file;
}

Corpus make_corpus(std::vector<io::DataFile> files, std::int64_t context = 100, TooLong too_long = TooLong::drop,
                   std::int64_t vocabulary = 257) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < files.size(); ++i) names.push_back("file" + std::to_string(i) + ".h5");
    return Corpus(std::move(files), names, context, too_long, vocabulary);
}

std::string text(std::vector<Token> const& tokens) { return open_tokenizer("bytes")->decode(tokens); }

TEST(Corpus, CountsRowsThroughTheFiles) {
    Corpus const corpus = make_corpus({make_file({{"ab", "c"}, {"d", "ef"}}), make_file({{"g", "h"}})});
    ASSERT_EQ(corpus.size(), 3);
    EXPECT_EQ(corpus.example(1).index, 1);
    EXPECT_EQ(corpus.example(2).index, 2);
    EXPECT_EQ(text(corpus.example(0).prompt), "ab");
    EXPECT_EQ(corpus.example(1).answer, (std::vector<Token>{'e', 'f', 256}));
    EXPECT_EQ(text(corpus.example(2).prompt), "g");
    EXPECT_EQ(corpus.prompt_tokens(0), 2);
    EXPECT_EQ(corpus.answer_tokens(0), 2);
    EXPECT_EQ(corpus.dropped(), 0);
    EXPECT_EQ(corpus.tokenizer().kind, "bytes");
}

// Lengths with end-of-answer: 6, 5, 7, 4.
Pairs const mixed = {{"abc", "de"}, {"abc", "d"}, {"a", "bcdef"}, {"a", "bc"}};

TEST(Corpus, DropsWhatIsTooLong) {
    Corpus const corpus = make_corpus({make_file(mixed), make_file(mixed)}, 5);
    ASSERT_EQ(corpus.size(), 4);
    EXPECT_EQ(corpus.dropped(), 4);
    EXPECT_EQ(corpus.truncated(), 0);
    std::vector<std::int64_t> indices;
    for (std::int64_t i = 0; i < corpus.size(); ++i) indices.push_back(corpus.example(i).index);
    EXPECT_EQ(indices, (std::vector<std::int64_t>{1, 3, 5, 7}));
    EXPECT_EQ(text(corpus.example(1).answer), "bc");
    EXPECT_EQ(make_corpus({make_file(mixed)}, 7).dropped(), 0);
}

TEST(Corpus, TruncatesPromptsAtTheirBeginning) {
    Corpus const corpus = make_corpus({make_file(mixed)}, 5, TooLong::truncate);
    ASSERT_EQ(corpus.size(), 3);
    EXPECT_EQ(corpus.truncated(), 1);
    EXPECT_EQ(corpus.dropped(), 1);  // an answer of six tokens
    EXPECT_EQ(text(corpus.example(0).prompt), "bc");
    EXPECT_EQ(text(corpus.example(0).answer), "de");
    EXPECT_EQ(text(corpus.example(1).prompt), "abc");
    EXPECT_EQ(corpus.example(2).index, 3);
    // Two prompt tokens go, one stays: the answer of three just fits.
    EXPECT_EQ(text(make_corpus({make_file({{"abc", "de"}})}, 4, TooLong::truncate).example(0).prompt), "c");
    expect_error("no example is left (1 of 1", [] { make_corpus({make_file({{"abc", "de"}})}, 3, TooLong::truncate); });
}

TEST(Corpus, BadFilesAreNamed) {
    auto const bad = [](std::string const& part, auto change, std::int64_t vocabulary = 257) {
        auto file = make_file(mixed);
        change(file);
        expect_error(part, [&] { make_corpus({make_file(mixed), file}, 100, TooLong::drop, vocabulary); });
    };
    bad("file1.h5: row 1: token id 257 ", [](io::DataFile& file) { file.tokens[6] = 257; });
    bad("file1.h5: row 3: token id -1 ", [](io::DataFile& file) { file.tokens[18] = -1; });
    bad(
        "file0.h5: row 0: token id 256 is outside the model's vocabulary of 256", [](io::DataFile&) {}, 256);
    bad("file1.h5: row 1: a prompt of 0", [](io::DataFile& file) { file.prompt_length[1] = 0; });
    bad("file1.h5: row 1: a prompt of 5 in 5", [](io::DataFile& file) { file.prompt_length[1] = 5; });
    bad("file1.h5: row 2: the answer ends with token 101", [](io::DataFile& file) { file.tokens[17] = 'e'; });
    bad("file1.h5: row 0: /offsets runs from 0 to 1000", [](io::DataFile& file) { file.offsets[1] = 1000; });
    bad("file1.h5: row 0: /offsets runs from 0 to -4", [](io::DataFile& file) { file.offsets[1] = -4; });
    bad("file1.h5: /offsets (4 values)", [](io::DataFile& file) { file.offsets.pop_back(); });
    bad("file1.h5: /offsets (5 values)", [](io::DataFile& file) { file.tokens.push_back(256); });
    bad("file0.h5 and file1.h5 have different tokenizers", [](io::DataFile& file) { file.tokenizer.kind = "another"; });
    expect_error("no data file is named", [] { make_corpus({}); });
    expect_error("no example is left", [] { make_corpus({make_file({})}); });
}

TEST(Corpus, DigestIsOfTheExamples) {
    std::string const one = make_corpus({make_file(mixed), make_file(mixed)}, 5).digest();
    auto twice = mixed;
    twice.insert(twice.end(), mixed.begin(), mixed.end());
    EXPECT_EQ(make_corpus({make_file(twice)}, 5).digest(), one);
    EXPECT_NE(make_corpus({make_file(twice)}, 6).digest(), one);
    EXPECT_NE(make_corpus({make_file(twice)}, 5, TooLong::truncate).digest(), one);
    EXPECT_NE(make_corpus({make_file({{"ab", "c"}})}).digest(), make_corpus({make_file({{"a", "bc"}})}).digest());
}

TEST(DataOrder, EveryEpochIsAFreshPermutation) {
    std::int64_t const examples = 37;
    std::set<std::vector<std::int64_t>> epochs;
    for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
        std::vector<std::int64_t> order;
        for (std::int64_t i = 0; i < examples; ++i) order.push_back(ordered_example(epoch * examples + i, examples, 9));
        epochs.insert(order);
        EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 37u);
        EXPECT_EQ(*std::max_element(order.begin(), order.end()), examples - 1);
    }
    EXPECT_EQ(epochs.size(), 5u);
    EXPECT_EQ(ordered_example(100, examples, 9), ordered_example(100, examples, 9));
    int moved = 0;
    for (std::int64_t i = 0; i < examples; ++i)
        moved += ordered_example(i, examples, 9) != ordered_example(i, examples, 10);
    EXPECT_GT(moved, 20);
    EXPECT_EQ(ordered_example(123, 1, 9), 0);
}

}  // namespace
}  // namespace selvage

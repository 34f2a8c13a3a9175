// SPDX-License-Identifier: Apache-2.0
#include "score/match.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/philox.h"

namespace selvage::score {
namespace {

using Words = std::vector<std::string>;

// Straight from the definition.
std::int64_t slow_lcs(std::span<std::string const> a, std::span<std::string const> b) {
    if (a.empty() || b.empty()) return 0;
    if (a.back() == b.back()) return 1 + slow_lcs(a.first(a.size() - 1), b.first(b.size() - 1));
    return std::max(slow_lcs(a.first(a.size() - 1), b), slow_lcs(a, b.first(b.size() - 1)));
}

TEST(Lcs, AgreesWithItsDefinition) {
    Random const random(7, Purpose::test);
    for (std::uint32_t trial = 0; trial < 300; ++trial) {
        auto const make = [&](std::uint32_t side) {
            Words words(random.bits({trial, side, 0}) % 9);
            for (std::uint32_t i = 0; i < words.size(); ++i)
                words[i] = std::string(1, static_cast<char>('a' + random.bits({trial, side, i + 1}) % 3));
            return words;
        };
        Words const a = make(0);
        Words const b = make(1);
        EXPECT_EQ(lcs_length(a, b), slow_lcs(a, b)) << trial;
    }
}

TEST(Lcs, F1OverWords) {
    EXPECT_DOUBLE_EQ(lcs_f1("", ""), 1);
    EXPECT_DOUBLE_EQ(lcs_f1(" \n", "\t"), 1);
    EXPECT_DOUBLE_EQ(lcs_f1("", "a"), 0);
    EXPECT_DOUBLE_EQ(lcs_f1("a", ""), 0);
    EXPECT_DOUBLE_EQ(lcs_f1("the cat  sat\non", "the dog sat on"), 0.75);
    EXPECT_DOUBLE_EQ(lcs_f1("The", "the"), 0);  // words as they stand
    EXPECT_DOUBLE_EQ(lcs_f1("b a", "a b c d"), 2.0 / 6);
}

TEST(TokenF1, BagsOfWords) {
    EXPECT_DOUBLE_EQ(token_f1("", ""), 1);
    EXPECT_DOUBLE_EQ(token_f1("", "a"), 0);
    EXPECT_DOUBLE_EQ(token_f1("B A", "a b"), 1);
    EXPECT_DOUBLE_EQ(token_f1("a a a", "a a b"), 4.0 / 6);
    EXPECT_DOUBLE_EQ(token_f1("a,", "a"), 0);
}

TEST(ExtractAnswer, Rules) {
    EXPECT_EQ(extract_answer("  a\nb \n", Extract::all), "a\nb");
    EXPECT_EQ(extract_answer("  a\nb \n\n", Extract::last_line), "b");
    EXPECT_EQ(extract_answer("a\r\nb\r\n", Extract::last_line), "b");
    EXPECT_EQ(extract_answer("one", Extract::last_line), "one");
    EXPECT_EQ(extract_answer("", Extract::last_line), "");
}

TEST(ExtractAnswer, LastNumber) {
    auto const number = [](std::string_view text) { return extract_answer(text, Extract::last_number); };
    EXPECT_EQ(number("12 + 7 = 19\nAnswer: 19."), "19");
    EXPECT_EQ(number("1,250.50 dollars"), "1250.5");
    EXPECT_EQ(number("sums 1,2,3"), "3");
    EXPECT_EQ(number("pairs 10,20"), "20");
    EXPECT_EQ(number("12,345,678"), "12345678");
    EXPECT_EQ(number("42.0"), "42");
    EXPECT_EQ(number("x = -7"), "-7");
    EXPECT_EQ(number("-7"), "-7");
    EXPECT_EQ(number("9-7"), "7");
    EXPECT_EQ(number("(9)-7"), "7");
    EXPECT_EQ(number("-0.0"), "0");
    EXPECT_EQ(number("007"), "7");
    EXPECT_EQ(number("0.50"), "0.5");
    EXPECT_EQ(number("none"), "");
    EXPECT_EQ(number(""), "");
}

TEST(ExactMatch, Rules) {
    EXPECT_TRUE(exact_match("so\nAnswer: 42", "Answer: 42", Extract::last_line));
    EXPECT_FALSE(exact_match("so\nAnswer: 42", "Answer: 42", Extract::all));
    EXPECT_TRUE(exact_match("the answer is 1,000", "Answer: 1000", Extract::last_number));
    EXPECT_FALSE(exact_match("no idea", "Answer: 1000", Extract::last_number));
    EXPECT_FALSE(exact_match("no idea", "nor this", Extract::last_number));
    EXPECT_TRUE(exact_match("", "  ", Extract::all));
}

}  // namespace
}  // namespace selvage::score

// SPDX-License-Identifier: Apache-2.0
#include "score/rouge.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <iterator>

#include "support/test_main.h"

namespace selvage::score {
namespace {

boost::json::array reference_cases() {
    std::ifstream file(test::files() / "reference/rouge.json");
    std::string const text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    return boost::json::parse(text).as_array();
}

std::string text_of(boost::json::object const& object, char const* key) {
    auto const& text = object.at(key).as_string();
    return {text.data(), text.size()};
}

// Both sides round the same few divisions and products in the same order.
void expect_equal(PrecisionRecall const& score, boost::json::value const& expected, std::string const& what) {
    auto const& values = expected.as_array();
    EXPECT_DOUBLE_EQ(score.precision, values[0].to_number<double>()) << what;
    EXPECT_DOUBLE_EQ(score.recall, values[1].to_number<double>()) << what;
    EXPECT_DOUBLE_EQ(score.f1, values[2].to_number<double>()) << what;
}

TEST(Rouge, AgreesWithRougeScore) {
    auto const cases = reference_cases();
    ASSERT_GE(cases.size(), 40u);
    for (auto const& value : cases) {
        auto const& object = value.as_object();
        std::string const prediction = text_of(object, "prediction");
        std::string const reference = text_of(object, "reference");
        std::string const what = prediction.substr(0, 60) + " | " + reference.substr(0, 60);
        auto const words = rouge_words(prediction);
        auto const reference_words = rouge_words(reference);
        if (auto const* expected = object.if_contains("words")) {
            EXPECT_EQ(words, boost::json::value_to<std::vector<std::string>>(*expected)) << what;
        }
        expect_equal(rouge_n(words, reference_words, 1), object.at("rouge1"), "rouge1 " + what);
        expect_equal(rouge_n(words, reference_words, 2), object.at("rouge2"), "rouge2 " + what);
        expect_equal(rouge_l(std::span<std::string const>(words), std::span<std::string const>(reference_words)),
                     object.at("rougeL"), "rougeL " + what);
        EXPECT_DOUBLE_EQ(rouge_1(prediction, reference), object.at("rouge1").as_array()[2].to_number<double>());
        EXPECT_DOUBLE_EQ(rouge_2(prediction, reference), object.at("rouge2").as_array()[2].to_number<double>());
        EXPECT_DOUBLE_EQ(rouge_l(prediction, reference), object.at("rougeL").as_array()[2].to_number<double>());
    }
}

TEST(Rouge, LongerGrams) {
    auto const words = rouge_words("a b c d e");
    EXPECT_DOUBLE_EQ(rouge_n(words, words, 5).f1, 1);
    EXPECT_DOUBLE_EQ(rouge_n(words, words, 6).f1, 0);
    EXPECT_DOUBLE_EQ(rouge_n(words, rouge_words("a b c x e"), 3).precision, 1.0 / 3);
}

TEST(Rouge, InvalidUtf8IsNoWord) {
    EXPECT_EQ(rouge_words("ab\xff\xe2\x84"), (std::vector<std::string>{"ab"}));
    EXPECT_EQ(rouge_words("\xc4"), (std::vector<std::string>{}));
}

}  // namespace
}  // namespace selvage::score

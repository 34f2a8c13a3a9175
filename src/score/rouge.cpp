// SPDX-License-Identifier: Apache-2.0
#include "score/rouge.h"

#include <algorithm>
#include <map>

#include "score/match.h"

namespace selvage::score {
namespace {

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

PrecisionRecall measure(std::int64_t common, std::size_t prediction, std::size_t reference) {
    PrecisionRecall result;
    result.precision = static_cast<double>(common) / static_cast<double>(std::max<std::size_t>(prediction, 1));
    result.recall = static_cast<double>(common) / static_cast<double>(std::max<std::size_t>(reference, 1));
    if (common > 0) result.f1 = 2 * result.precision * result.recall / (result.precision + result.recall);
    return result;
}

using Grams = std::map<std::span<std::string const>, std::int64_t,
                       decltype([](std::span<std::string const> a, std::span<std::string const> b) {
                           return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
                       })>;

Grams count_grams(std::span<std::string const> words, std::size_t n) {
    Grams grams;
    for (std::size_t i = 0; i + n <= words.size(); ++i) ++grams[words.subspan(i, n)];
    return grams;
}

}  // namespace

std::vector<std::string> rouge_words(std::string_view text) {
    std::vector<std::string> words;
    std::string word;
    auto const finish = [&] {
        if (!word.empty()) words.push_back(std::move(word));
        word.clear();
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        char const c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
        if (is_word(c)) {
            word += c;
        } else if (text.substr(i, 3) == "\xe2\x84\xaa") {
            // The two characters beyond ASCII whose lower case has an ASCII letter: the Kelvin sign ...
            word += 'k';
            i += 2;
        } else if (text.substr(i, 2) == "\xc4\xb0") {
            // ... and the dotted capital I, whose lower case is i and a combining dot.
            word += 'i';
            finish();
            ++i;
        } else {
            finish();
        }
    }
    finish();
    return words;
}

PrecisionRecall rouge_n(std::span<std::string const> prediction, std::span<std::string const> reference,
                        std::int64_t n) {
    auto const size = static_cast<std::size_t>(std::max<std::int64_t>(n, 1));
    Grams const in_reference = count_grams(reference, size);
    std::int64_t common = 0;
    for (auto const& [gram, count] : count_grams(prediction, size)) {
        auto const found = in_reference.find(gram);
        if (found != in_reference.end()) common += std::min(count, found->second);
    }
    auto const grams = [&](std::size_t words) { return words < size ? 0 : words - size + 1; };
    return measure(common, grams(prediction.size()), grams(reference.size()));
}

PrecisionRecall rouge_l(std::span<std::string const> prediction, std::span<std::string const> reference) {
    return measure(lcs_length(prediction, reference), prediction.size(), reference.size());
}

double rouge_1(std::string_view prediction, std::string_view reference) {
    return rouge_n(rouge_words(prediction), rouge_words(reference), 1).f1;
}

double rouge_2(std::string_view prediction, std::string_view reference) {
    return rouge_n(rouge_words(prediction), rouge_words(reference), 2).f1;
}

double rouge_l(std::string_view prediction, std::string_view reference) {
    auto const words = rouge_words(prediction);
    auto const reference_words = rouge_words(reference);
    return rouge_l(std::span<std::string const>(words), std::span<std::string const>(reference_words)).f1;
}

}  // namespace selvage::score

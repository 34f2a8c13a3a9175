// SPDX-License-Identifier: Apache-2.0
#include "score/match.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

namespace selvage::score {
namespace {

// ASCII only, the same in every locale.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

std::vector<std::string> split_words(std::string_view text) {
    std::vector<std::string> words;
    for (std::size_t i = 0; i < text.size();) {
        std::size_t end = i;
        while (end < text.size() && !is_space(text[end])) ++end;
        if (end > i) words.emplace_back(text.substr(i, end - i));
        i = end + 1;
    }
    return words;
}

double f1_of(std::int64_t common, std::size_t a, std::size_t b) {
    if (a == 0 && b == 0) return 1;
    return 2 * static_cast<double>(common) / static_cast<double>(a + b);
}

// Where a number that begins with a digit at `begin` ends. A comma belongs to it only in front of exactly three digits,
// a dot only in front of a digit.
std::size_t number_end(std::string_view text, std::size_t begin) {
    auto const digits_from = [&](std::size_t i) {
        std::size_t end = i;
        while (end < text.size() && is_digit(text[end])) ++end;
        return end - i;
    };
    std::size_t end = begin + digits_from(begin);
    while (end < text.size() && text[end] == ',' && digits_from(end + 1) == 3) end += 4;
    if (end < text.size() && text[end] == '.' && digits_from(end + 1) > 0) end += 1 + digits_from(end + 1);
    return end;
}

// "1,250.50" -> "1250.5", "042" -> "42", "-0" -> "0".
std::string canonical_number(std::string_view number, bool negative) {
    std::string plain;
    for (char const c : number)
        if (c != ',') plain += c;
    if (plain.find('.') != std::string::npos) {
        while (plain.back() == '0') plain.pop_back();
        if (plain.back() == '.') plain.pop_back();
    }
    while (plain.size() > 1 && plain[0] == '0' && is_digit(plain[1])) plain.erase(0, 1);
    return negative && plain != "0" ? "-" + plain : plain;
}

std::string last_number(std::string_view text) {
    std::string found;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (!is_digit(text[i])) continue;
        // A minus is a sign unless something stands in front of it that it could be subtracted from.
        bool const negative = i >= 1 && text[i - 1] == '-' &&
                              (i == 1 || !(is_digit(text[i - 2]) || is_letter(text[i - 2]) || text[i - 2] == ')'));
        std::size_t const end = number_end(text, i);
        found = canonical_number(text.substr(i, end - i), negative);
        i = end - 1;
    }
    return found;
}

}  // namespace

std::int64_t lcs_length(std::span<std::string const> a, std::span<std::string const> b) {
    std::unordered_map<std::string_view, std::int32_t> ids;
    auto const number = [&](std::span<std::string const> words) {
        std::vector<std::int32_t> numbers;
        numbers.reserve(words.size());
        for (std::string const& word : words)
            numbers.push_back(ids.try_emplace(word, static_cast<std::int32_t>(ids.size())).first->second);
        return numbers;
    };
    auto const x = number(a);
    auto const y = number(b);
    std::vector<std::int32_t> row(y.size() + 1, 0);
    for (std::int32_t const word : x) {
        std::int32_t diagonal = 0;  // row[j - 1] of the row before
        for (std::size_t j = 1; j <= y.size(); ++j) {
            std::int32_t const above = row[j];
            row[j] = word == y[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
            diagonal = above;
        }
    }
    return row.back();
}

double lcs_f1(std::string_view prediction, std::string_view reference) {
    auto const a = split_words(prediction);
    auto const b = split_words(reference);
    return f1_of(lcs_length(a, b), a.size(), b.size());
}

double token_f1(std::string_view prediction, std::string_view reference) {
    auto const lower_words = [](std::string_view text) {
        std::string lower(text);
        for (char& c : lower)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        auto words = split_words(lower);
        std::sort(words.begin(), words.end());
        return words;
    };
    auto const a = lower_words(prediction);
    auto const b = lower_words(reference);
    std::vector<std::string> common;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
    return f1_of(static_cast<std::int64_t>(common.size()), a.size(), b.size());
}

std::string extract_answer(std::string_view text, Extract rule) {
    text = trim(text);
    switch (rule) {
        case Extract::all:
            break;
        case Extract::last_line: {
            auto const line = text.find_last_of("\r\n");
            if (line != std::string_view::npos) text = trim(text.substr(line));
            break;
        }
        case Extract::last_number:
            return last_number(text);
    }
    return std::string(text);
}

bool exact_match(std::string_view prediction, std::string_view reference, Extract rule) {
    std::string const expected = extract_answer(reference, rule);
    if (expected.empty() && rule == Extract::last_number) return false;
    return extract_answer(prediction, rule) == expected;
}

}  // namespace selvage::score

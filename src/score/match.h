// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace selvage::score {

// Longest common subsequence, by length.
std::int64_t lcs_length(std::span<std::string const> a, std::span<std::string const> b);
// F1 of the LCS over words separated by white space (the agreement of the gap meter). Two empty texts agree fully.
double lcs_f1(std::string_view prediction, std::string_view reference);
// F1 of the bags of words separated by white space, lower-cased.
double token_f1(std::string_view prediction, std::string_view reference);

enum class Extract : std::uint8_t { all, last_line, last_number };
// The part of an answer that exact match compares, trimmed of white space; last_line is the last line that is not
// empty. A last_number is put in one form ("1,250.50" becomes "1250.5"); it is empty where the text has no number, and
// an exact match on a reference without a number is false.
std::string extract_answer(std::string_view text, Extract rule);
bool exact_match(std::string_view prediction, std::string_view reference, Extract rule);

}  // namespace selvage::score

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Text against text. Lin 2004; agrees with Google's rouge-score package (default tokenizer, no stemming).
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace selvage::score {

struct PrecisionRecall {
    double precision = 0;
    double recall = 0;
    double f1 = 0;
};

// Lower-cased runs of ASCII letters and digits, as rouge-score's default tokenizer makes them.
std::vector<std::string> rouge_words(std::string_view text);
PrecisionRecall rouge_n(std::span<std::string const> prediction, std::span<std::string const> reference,
                        std::int64_t n);
PrecisionRecall rouge_l(std::span<std::string const> prediction, std::span<std::string const> reference);
double rouge_1(std::string_view prediction, std::string_view reference);
double rouge_2(std::string_view prediction, std::string_view reference);
double rouge_l(std::string_view prediction, std::string_view reference);

}  // namespace selvage::score

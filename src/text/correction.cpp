// SPDX-License-Identifier: Apache-2.0
#include "text/correction.h"

#include <algorithm>

namespace selvage {

std::optional<CorrectionPrompt> correction_prompt(std::span<Token const> prompt, std::span<Token const> answer,
                                                  std::span<Token const> marker, std::int64_t context,
                                                  std::int64_t max_new_tokens) {
    std::int64_t const available = context - static_cast<std::int64_t>(prompt.size() + marker.size());
    if (available < 1) return std::nullopt;
    std::int64_t const reserved = std::min(max_new_tokens, (available + 1) / 2);
    std::int64_t const kept = std::min(static_cast<std::int64_t>(answer.size()), available - reserved);
    CorrectionPrompt correction;
    correction.tokens.assign(prompt.begin(), prompt.end());
    correction.tokens.insert(correction.tokens.end(), answer.begin(), answer.begin() + kept);
    correction.tokens.insert(correction.tokens.end(), marker.begin(), marker.end());
    correction.max_new_tokens = std::min(max_new_tokens, available - kept);
    return correction;
}

std::span<Token const> without_end(std::span<Token const> answer, Token end_of_answer) {
    bool const ended = !answer.empty() && answer.back() == end_of_answer;
    return ended ? answer.first(answer.size() - 1) : answer;
}

}  // namespace selvage

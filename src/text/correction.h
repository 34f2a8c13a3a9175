// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "text/records.h"

namespace selvage {

// What the model reads to correct an answer: prompt, answer (without end-of-answer), marker.
struct CorrectionPrompt {
    std::vector<Token> tokens;
    std::int64_t max_new_tokens = 0;  // room for the new answer
};

// Where that leaves little room in `context`, the answer's tail is cut so that the new answer has half of what prompt
// and marker leave (or max_new_tokens, if that is less). nullopt: prompt and marker alone fill the context.
std::optional<CorrectionPrompt> correction_prompt(std::span<Token const> prompt, std::span<Token const> answer,
                                                  std::span<Token const> marker, std::int64_t context,
                                                  std::int64_t max_new_tokens);

// The tokens of an answer without its end-of-answer.
std::span<Token const> without_end(std::span<Token const> answer, Token end_of_answer);

}  // namespace selvage

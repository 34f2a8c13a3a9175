// SPDX-License-Identifier: Apache-2.0
#pragma once
// From an example and the model's answers to its scores: two teacher-forced passes (gold and own context), a training
// forward over the drafts, and text against text.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "evaluate/answer_pipeline.h"
#include "evaluate/example_scores.h"
#include "evaluate/training_forward.h"
#include "generate/forced.h"
#include "score/match.h"
#include "text/tokenizer.h"

namespace selvage {

class ExampleScorer {
  public:
    // `context`: most tokens of prompt and answer.
    ExampleScorer(Arena& arena, Model& model, Tokenizer const& tokenizer, score::Extract extract, std::int64_t prefix,
                  std::int64_t context, std::uint64_t seed);

    // Scores in the order of `answers`. other_gold[i]: the other example's gold answer for chance_agreement, empty
    // where there is none. Only the calls' size, not the scores, depends on how examples are grouped.
    std::vector<ExampleScores> score(std::span<ExampleAnswers const> answers,
                                     std::span<std::vector<Token> const> other_gold);

    // Input tokens of one teacher-forced pass.
    std::int64_t pass_tokens() const { return pass_tokens_; }

  private:
    std::string text(std::span<Token const> tokens) const;
    void score_texts(ExampleScores& out, ExampleAnswers const& answers, std::vector<Token> const& other_gold) const;
    PrefixScore score_prefix(ExampleAnswers const& answers, std::int64_t k) const;
    void score_forced(ExampleScores& out, ExampleAnswers const& answers, ForcedResult const& gold,
                      ForcedResult const& own) const;

    Tokenizer const& tokenizer_;
    score::Extract extract_;
    std::int64_t prefix_;
    std::int64_t pass_tokens_;
    ForcedPass forced_;
    TrainingForward training_;
};

// The argmax predictions on gold context as one answer: up to and without the first end-of-answer.
std::span<Token const> forced_answer(std::span<Token const> argmax, Token end_of_answer);

}  // namespace selvage

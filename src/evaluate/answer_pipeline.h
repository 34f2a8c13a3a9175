// SPDX-License-Identifier: Apache-2.0
#pragma once
// The generation requests of an evaluation sweep. An example asks for a greedy and a sampled draft; when the greedy one
// is there, for continuations of gold prefixes and for the first correction; every correction asks for the next. Many
// examples are under way at once, so that the engine's streams stay full.
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "generate/engine.h"
#include "text/records.h"

namespace selvage {

struct AnswerOptions {
    std::int64_t turns = 1;
    std::int64_t prefix = 16;
    std::int64_t context = 512;  // most tokens of prompt and answer together
    std::int64_t max_new_tokens = 128;
    std::vector<Token> marker;
    Token end_of_answer = -1;
};

// Everything that the model said about one example.
struct ExampleAnswers {
    std::int64_t item = 0;  // place among the chosen examples
    Example example;
    Draft greedy;
    Draft sampled;
    // Element k: greedy continuation of l = (k + 1) prefix gold tokens; empty where l does not count (see PrefixScore).
    std::vector<std::optional<Draft>> continuations;
    std::vector<std::vector<Token>> turns;  // answers without end-of-answer; turns[0] is the greedy draft
    std::int64_t generated_tokens = 0;
};

class AnswerPipeline {
  public:
    explicit AnswerPipeline(AnswerOptions options) : options_(std::move(options)) {}

    void begin(std::int64_t item, Example example);
    std::optional<DraftRequest> next();
    void take(Draft&& draft);
    std::vector<ExampleAnswers> take_finished();
    bool idle() const { return under_way_.empty(); }  // all that was begun is finished

  private:
    struct UnderWay {
        ExampleAnswers answers;
        std::int64_t outstanding = 0;  // requests without a draft
    };
    void request(UnderWay& state, std::int32_t sample, std::int32_t turn, std::vector<Token> prompt,
                 std::int64_t max_new_tokens, double temperature);
    void request_continuations(UnderWay& state);
    // The next correction; an example without room for one keeps its last answer.
    void request_corrections(UnderWay& state);

    AnswerOptions options_;
    std::map<std::int64_t, UnderWay> under_way_;  // by row in the data
    std::deque<DraftRequest> ready_;
    std::vector<ExampleAnswers> finished_;
};

}  // namespace selvage

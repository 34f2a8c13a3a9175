// SPDX-License-Identifier: Apache-2.0
#pragma once
// The records that flow through a round: Example -> Draft -> Woven.
#include <cstdint>
#include <vector>

namespace selvage {

using Token = std::int32_t;

// One prompt with its gold answer. `answer` ends with end-of-answer.
struct Example {
    std::int64_t index = 0;  // row in the data, counted through the files of data.train in order
    std::vector<Token> prompt;
    std::vector<Token> answer;
};

enum class FinishReason : std::uint8_t { end_of_answer = 0, length = 1, context = 2 };

// An answer by the model. `logprob` and `sampled_logprob` have one value per token: log-probability (natural) under the
// model itself, and under the sampler that drew it.
struct Draft {
    std::int64_t example = 0;
    std::int32_t sample = 0;
    std::int32_t turn = 0;
    FinishReason finish = FinishReason::end_of_answer;
    std::vector<Token> tokens;  // end-of-answer included where it was drawn
    std::vector<float> logprob;
    std::vector<float> sampled_logprob;
};

enum class Origin : std::uint8_t { prompt = 0, gold = 1, generated = 2, marker = 3 };
enum class Method : std::uint8_t { none = 0, bash = 1, rac = 2 };

// A training example. All five sequences have the same length: input_tokens[i] is what the model reads at position i,
// target_tokens[i] what it must predict there, loss_weight[i] the weight of that prediction. Positions without loss
// have target = next input.
struct Woven {
    std::int64_t example = 0;
    std::int32_t sample = 0;
    Method method = Method::none;
    std::int32_t answer_start = 0;  // first position with loss
    std::vector<Token> input_tokens;
    std::vector<Token> target_tokens;
    std::vector<float> loss_weight;
    std::vector<Origin> origin;         // where input_tokens[i] came from
    std::vector<Origin> target_origin;  // where target_tokens[i] came from
};

}  // namespace selvage

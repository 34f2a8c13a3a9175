// SPDX-License-Identifier: Apache-2.0
#include "evaluate/answer_pipeline.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "evaluate/example_scores.h"
#include "text/correction.h"

namespace selvage {
namespace {

// DraftRequest::sample tells an example's requests apart; corrections are sample 0 with their turn.
constexpr std::int32_t greedy_sample = 0;
constexpr std::int32_t drawn_sample = 1;
constexpr std::int32_t first_continuation = 2;

std::int64_t size_of(std::span<Token const> tokens) { return static_cast<std::int64_t>(tokens.size()); }

void append(std::vector<Token>& to, std::span<Token const> tokens) {
    to.insert(to.end(), tokens.begin(), tokens.end());
}

}  // namespace

void AnswerPipeline::begin(std::int64_t item, Example example) {
    std::int64_t const room = options_.context - size_of(example.prompt);
    SELVAGE_CHECK(!example.prompt.empty() && room >= 1, "example {} has no room for an answer", example.index);
    std::int64_t const row = example.index;
    auto const [place, is_new] = under_way_.try_emplace(row);
    SELVAGE_CHECK(is_new, "example {} began twice", row);
    UnderWay& state = place->second;
    state.answers.item = item;
    state.answers.example = std::move(example);
    state.answers.continuations.resize(static_cast<std::size_t>(prefix_lengths));
    std::int64_t const length = std::min(options_.max_new_tokens, room);
    request(state, greedy_sample, 0, state.answers.example.prompt, length, 0);
    request(state, drawn_sample, 0, state.answers.example.prompt, length, 1);
}

std::optional<DraftRequest> AnswerPipeline::next() {
    if (ready_.empty()) return std::nullopt;
    DraftRequest request = std::move(ready_.front());
    ready_.pop_front();
    return request;
}

void AnswerPipeline::take(Draft&& draft) {
    auto const place = under_way_.find(draft.example);
    SELVAGE_CHECK(place != under_way_.end(), "a draft of example {}, which is not under way", draft.example);
    UnderWay& state = place->second;
    ExampleAnswers& answers = state.answers;
    --state.outstanding;
    answers.generated_tokens += size_of(draft.tokens);
    if (draft.sample == drawn_sample) {
        answers.sampled = std::move(draft);
    } else if (draft.sample >= first_continuation) {
        answers.continuations[static_cast<std::size_t>(draft.sample - first_continuation)] = std::move(draft);
    } else {
        auto const answer = without_end(draft.tokens, options_.end_of_answer);
        answers.turns.emplace_back(answer.begin(), answer.end());
        if (draft.turn == 0) {
            answers.greedy = std::move(draft);
            request_continuations(state);
        }
        request_corrections(state);
    }
    if (state.outstanding > 0) return;
    finished_.push_back(std::move(answers));
    under_way_.erase(place);
}

std::vector<ExampleAnswers> AnswerPipeline::take_finished() { return std::exchange(finished_, {}); }

void AnswerPipeline::request(UnderWay& state, std::int32_t sample, std::int32_t turn, std::vector<Token> prompt,
                             std::int64_t max_new_tokens, double temperature) {
    DraftRequest request;
    request.example = state.answers.example.index;
    request.sample = sample;
    request.turn = turn;
    request.prompt = std::move(prompt);
    request.max_new_tokens = max_new_tokens;
    request.sampler.temperature = temperature;
    request.purpose = Purpose::evaluate_sample;
    ready_.push_back(std::move(request));
    ++state.outstanding;
}

// After l own tokens the greedy continuation is the rest of the greedy draft; after l gold tokens it is asked for here,
// up to the same place. Counted are l with at least one own token more and gold text (not end-of-answer alone) behind.
void AnswerPipeline::request_continuations(UnderWay& state) {
    ExampleAnswers const& answers = state.answers;
    std::vector<Token> const& gold = answers.example.answer;
    std::int64_t const own = size_of(without_end(answers.greedy.tokens, options_.end_of_answer));
    std::int64_t const room = options_.context - size_of(answers.example.prompt);
    std::int64_t const longest = std::min(options_.max_new_tokens, room);
    for (std::int64_t k = 0; k < prefix_lengths; ++k) {
        std::int64_t const l = (k + 1) * options_.prefix;
        if (l > own || l >= size_of(answers.greedy.tokens) || l + 2 > size_of(gold)) break;
        std::vector<Token> prompt = answers.example.prompt;
        append(prompt, std::span(gold).first(static_cast<std::size_t>(l)));
        request(state, first_continuation + static_cast<std::int32_t>(k), 0, std::move(prompt), longest - l, 0);
    }
}

void AnswerPipeline::request_corrections(UnderWay& state) {
    ExampleAnswers& answers = state.answers;
    auto const wanted = static_cast<std::size_t>(options_.turns + 1);
    if (answers.turns.size() == wanted) return;
    std::vector<Token> const last = answers.turns.back();
    auto correction =
        correction_prompt(answers.example.prompt, last, options_.marker, options_.context, options_.max_new_tokens);
    if (!correction) {
        answers.turns.resize(wanted, last);
        return;
    }
    request(state, greedy_sample, static_cast<std::int32_t>(answers.turns.size()), std::move(correction->tokens),
            correction->max_new_tokens, 0);
}

}  // namespace selvage

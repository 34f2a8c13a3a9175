// SPDX-License-Identifier: Apache-2.0
#include "generate/sequence.h"

#include <algorithm>
#include <utility>

namespace selvage {

Sequence::Sequence(DraftRequest request, std::int64_t order, std::int64_t context)
    : request_(std::move(request)), order_(order), context_(context), inputs_(request_.prompt) {
    auto const prompt = static_cast<std::int64_t>(request_.prompt.size());
    auto const gold = static_cast<std::int64_t>(request_.gold.size());
    SELVAGE_CHECK(prompt > 0, "example {} has no prompt", request_.example);
    draft_.example = request_.example;
    draft_.sample = request_.sample;
    draft_.turn = request_.turn;
    if (mixed()) {
        SELVAGE_CHECK(request_.use_own.size() + 1 == request_.gold.size(), "{} choices for a gold answer of {} tokens",
                      request_.use_own.size(), gold);
        if (prompt + gold - 1 > context_)
            fail(ExitCode::bad_data,
                 "example {} has {} prompt and {} answer tokens, more than data.context = {}; raise data.context, or "
                 "drop or truncate it (data.too_long)",
                 request_.example, prompt, gold, context_);
    } else if (request_.max_new_tokens <= 0) {
        finish(FinishReason::length);
    } else if (prompt >= context_) {
        finish(FinishReason::context);
    }
    auto const tokens = static_cast<std::size_t>(most_tokens());
    inputs_.reserve(inputs_.size() + tokens);
    pages.reserve(static_cast<std::size_t>(most_positions() / kernels::kv_page_tokens + 1));
    draft_.tokens.reserve(tokens);
    draft_.logprob.reserve(tokens);
    draft_.sampled_logprob.reserve(tokens);
}

std::int64_t Sequence::most_tokens() const {
    if (mixed()) return static_cast<std::int64_t>(request_.gold.size());
    auto const room = context_ - static_cast<std::int64_t>(request_.prompt.size());
    return std::max<std::int64_t>(0, std::min(request_.max_new_tokens, room));
}

std::int64_t Sequence::most_positions() const {
    return static_cast<std::int64_t>(request_.prompt.size()) + std::max<std::int64_t>(0, most_tokens() - 1);
}

std::span<Token const> Sequence::prompt_page(std::int64_t page) const {
    auto const first = static_cast<std::size_t>(page * kernels::kv_page_tokens);
    auto const size = static_cast<std::size_t>(kernels::kv_page_tokens);
    if (first + size > request_.prompt.size()) return {};
    return std::span(request_.prompt).subspan(first, size);
}

Draw Sequence::next_draw(std::uint64_t seed, std::int64_t round) const {
    auto const position = static_cast<std::int64_t>(draft_.tokens.size());
    return {request_.sampler,
            draw_bits(seed, request_.purpose, round, request_.example, position, request_.sample, request_.turn)};
}

void Sequence::append(SampledToken sampled, float logprob, SpecialTokens const& special) {
    Token const own = sampled.token;
    draft_.tokens.push_back(own);
    draft_.logprob.push_back(logprob);
    draft_.sampled_logprob.push_back(sampled.sampled_logprob);
    std::size_t const count = draft_.tokens.size();
    if (mixed()) {
        if (count == request_.gold.size()) return finish(FinishReason::end_of_answer);
        bool const read_own = request_.use_own[count - 1] != 0 && !special.contains(own);
        inputs_.push_back(read_own ? own : request_.gold[count - 1]);
        return;
    }
    if (own == special.end_of_answer) return finish(FinishReason::end_of_answer);
    if (static_cast<std::int64_t>(count) == request_.max_new_tokens) return finish(FinishReason::length);
    if (static_cast<std::int64_t>(count) == most_tokens()) return finish(FinishReason::context);
    inputs_.push_back(own);
}

void Sequence::finish(FinishReason reason) {
    finished_ = true;
    draft_.finish = reason;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "generate/engine.h"
#include "generate/readout.h"

namespace selvage {

// One answer in the making: what the model reads, how much of it is in the cache, and what has been drawn.
class Sequence {
  public:
    // `order` counts the requests of a run. A request that leaves no room for an answer is finished at once.
    Sequence(DraftRequest request, std::int64_t order, std::int64_t context);

    std::int64_t order() const { return order_; }
    bool finished() const { return finished_; }
    Draft& draft() { return draft_; }
    // Positions that the cache must hold in the worst case.
    std::int64_t most_positions() const;

    std::vector<Token> const& inputs() const { return inputs_; }
    std::int64_t stored() const { return stored_; }
    std::int64_t pending() const { return static_cast<std::int64_t>(inputs_.size()) - stored_; }
    void mark_stored(std::int64_t rows) { stored_ += rows; }
    // Its pages are gone: everything is read again.
    void forget() { stored_ = 0; }
    // The tokens of a whole page of the prompt; empty where the prompt does not fill it.
    std::span<Token const> prompt_page(std::int64_t page) const;

    // The next draw, from the logits of the last input.
    Draw next_draw(std::uint64_t seed, std::int64_t round) const;
    void append(SampledToken sampled, float logprob, SpecialTokens const& special);

    std::vector<std::int32_t> pages;  // page table; filled and emptied by the scheduler

  private:
    bool mixed() const { return !request_.gold.empty(); }
    std::int64_t most_tokens() const;
    void finish(FinishReason reason);

    DraftRequest request_;
    std::int64_t order_;
    std::int64_t context_;
    std::vector<Token> inputs_;
    std::int64_t stored_ = 0;
    bool finished_ = false;
    Draft draft_;
};

}  // namespace selvage

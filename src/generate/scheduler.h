// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which rows of which sequences run in the next step. Nothing here changes a token's bits.
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "generate/page_pool.h"
#include "generate/sequence.h"

namespace selvage {

class Scheduler {
  public:
    // At most `streams` sequences at once; a step has one row for each of them that decodes, and at most
    // `prefill_rows` rows of prompts (64 or more).
    Scheduler(std::int64_t pages, std::int64_t streams, std::int64_t prefill_rows);

    // Whether it would take a new sequence now: a free slot, and nobody older waits.
    bool wants_more() const;
    // Takes the sequence; it runs as soon as there are pages. It must fit into the cache alone.
    void add(Sequence sequence);
    bool idle() const { return active_.empty() && waiting_.empty(); }
    void clear();

    // Chooses the rows of the next step and gives them pages. Valid until the next call.
    void plan();
    TokenBatch batch() const { return {tokens_, positions_, segments_}; }
    std::int64_t prefill_rows() const { return planned_prefill_rows_; }
    // The sequences that draw a token in this step, and the rows that they draw from.
    std::span<Sequence* const> drawing() const { return drawing_; }
    std::span<std::int32_t const> drawing_rows() const { return drawing_rows_; }

    // After the step: takes out the finished sequences and gives each to `done`.
    void take_finished(std::function<void(Sequence&&)> const& done);

    std::int64_t preemptions() const { return preemptions_; }
    // Positions that were not computed, as another sequence had them.
    std::int64_t shared_positions() const { return shared_positions_; }

  private:
    using Sequences = std::list<Sequence>;  // by order, oldest first; addresses stay

    void admit();
    // Pages for every active sequence's next row, taken from the newest sequences where there are none left.
    void make_room();
    void preempt(Sequences::iterator sequence);
    // Whole pages of the prompt that come next for the sequence and that another one has stored, or stores in this
    // step.
    std::optional<std::int32_t> page_to_share(Sequence const& sequence, std::int64_t page, std::int32_t parent) const;
    std::int64_t pages_to_share(Sequence const& sequence) const;
    void share_pages(Sequence& sequence);
    void publish_pages(Sequence const& sequence, std::int64_t first_position);
    void plan_prefill();
    std::int64_t planned_rows() const { return static_cast<std::int64_t>(tokens_.size()); }
    void add_rows(Sequence& sequence, std::int64_t rows);

    PagePool pool_;
    std::int64_t streams_;
    std::int64_t most_prefill_rows_;
    Sequences active_, waiting_;
    std::vector<std::int32_t> tokens_, positions_, drawing_rows_;
    std::vector<kernels::AttentionSegment> segments_;
    std::vector<Sequence*> drawing_;
    std::int64_t planned_prefill_rows_ = 0;
    std::int64_t preemptions_ = 0;
    std::int64_t shared_positions_ = 0;
};

}  // namespace selvage

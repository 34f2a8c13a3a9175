// SPDX-License-Identifier: Apache-2.0
#include "generate/scheduler.h"

#include <algorithm>
#include <utility>

namespace selvage {
namespace {

// The most rows up to `rows` that products are fastest with for their number: they go by blocks of 64 rows, below by
// tiles of 16. With 65 rows a step takes as long as with 80, and with 80 nearly as long as with 128.
std::int64_t good_row_count(std::int64_t rows) { return rows / (rows < 64 ? 16 : 64) * (rows < 64 ? 16 : 64); }

}  // namespace

Scheduler::Scheduler(std::int64_t pages, std::int64_t streams, std::int64_t prefill_rows)
    : pool_(pages), streams_(streams), most_prefill_rows_(prefill_rows) {
    auto const rows = static_cast<std::size_t>(streams + prefill_rows);
    tokens_.reserve(rows);
    positions_.reserve(rows);
    segments_.reserve(static_cast<std::size_t>(2 * streams));
    drawing_.reserve(static_cast<std::size_t>(streams));
    drawing_rows_.reserve(static_cast<std::size_t>(streams));
}

bool Scheduler::wants_more() const { return waiting_.empty() && static_cast<std::int64_t>(active_.size()) < streams_; }

void Scheduler::add(Sequence sequence) {
    waiting_.push_back(std::move(sequence));
    admit();
}

void Scheduler::clear() {
    for (Sequence& sequence : active_) pool_.give_back(sequence.pages);
    active_.clear();
    waiting_.clear();
}

void Scheduler::admit() {
    while (!waiting_.empty() && static_cast<std::int64_t>(active_.size()) < streams_) {
        Sequence& first = waiting_.front();
        auto const positions = static_cast<std::int64_t>(first.inputs().size());
        // One page for each of the others stays free, so that a new one is not stopped at once. Alone it always fits.
        auto const others = static_cast<std::int64_t>(active_.size());
        std::int64_t const missing = PagePool::pages_for(positions) - pages_to_share(first);
        if (others > 0 && missing + others > pool_.free_pages()) return;
        share_pages(first);
        bool const fits = pool_.extend(first.pages, positions);
        SELVAGE_CHECK(fits, "{} positions do not fit into an empty cache of {} pages", positions, pool_.pages());
        auto place = active_.end();
        while (place != active_.begin() && std::prev(place)->order() > first.order()) --place;
        active_.splice(place, waiting_, waiting_.begin());
    }
}

std::optional<std::int32_t> Scheduler::page_to_share(Sequence const& sequence, std::int64_t page,
                                                     std::int32_t parent) const {
    // The last input is always read: the next token is drawn from it.
    bool const all = (page + 1) * kernels::kv_page_tokens >= static_cast<std::int64_t>(sequence.inputs().size());
    auto const tokens = sequence.prompt_page(page);
    return all || tokens.empty() ? std::nullopt : pool_.find(parent, tokens);
}

std::int64_t Scheduler::pages_to_share(Sequence const& sequence) const {
    std::int64_t pages = 0;
    for (std::int32_t parent = PagePool::no_page;; ++pages) {
        auto const page = page_to_share(sequence, pages, parent);
        if (!page) return pages;
        parent = *page;
    }
}

void Scheduler::share_pages(Sequence& sequence) {
    while (sequence.stored() % kernels::kv_page_tokens == 0) {
        std::int64_t const next = sequence.stored() / kernels::kv_page_tokens;
        auto const index = static_cast<std::size_t>(next);
        auto const page = page_to_share(sequence, next, next > 0 ? sequence.pages[index - 1] : PagePool::no_page);
        if (!page) return;
        pool_.share(sequence.pages, index, *page);
        sequence.mark_stored(kernels::kv_page_tokens);
        shared_positions_ += kernels::kv_page_tokens;
    }
}

void Scheduler::publish_pages(Sequence const& sequence, std::int64_t first_position) {
    for (std::int64_t page = first_position / kernels::kv_page_tokens;; ++page) {
        auto const tokens = sequence.prompt_page(page);
        if (tokens.empty() || (page + 1) * kernels::kv_page_tokens > sequence.stored()) return;
        auto const index = static_cast<std::size_t>(page);
        pool_.publish(sequence.pages[index], page > 0 ? sequence.pages[index - 1] : PagePool::no_page, tokens);
    }
}

void Scheduler::preempt(Sequences::iterator sequence) {
    ++preemptions_;
    pool_.give_back(sequence->pages);
    sequence->forget();
    auto const place = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](Sequence const& other) { return other.order() > sequence->order(); });
    waiting_.splice(place, active_, sequence);
}

void Scheduler::make_room() {
    for (auto sequence = active_.begin(); sequence != active_.end();) {
        auto const positions = static_cast<std::int64_t>(sequence->inputs().size());
        if (pool_.extend(sequence->pages, positions)) {
            ++sequence;
            continue;
        }
        auto const newest = std::prev(active_.end());
        SELVAGE_CHECK(active_.size() > 1, "{} positions do not fit into an empty cache of {} pages", positions,
                      pool_.pages());
        bool const itself = newest == sequence;
        preempt(newest);
        if (itself) return;
    }
}

void Scheduler::plan() {
    make_room();
    admit();
    tokens_.clear();
    positions_.clear();
    segments_.clear();
    drawing_.clear();
    drawing_rows_.clear();
    for (Sequence& sequence : active_)
        if (sequence.pending() == 1) add_rows(sequence, 1);
    std::int64_t const decoding = planned_rows();
    plan_prefill();
    planned_prefill_rows_ = planned_rows() - decoding;
}

void Scheduler::plan_prefill() {
    // Those above have nothing pending any more.
    auto const last =
        std::find_if(active_.rbegin(), active_.rend(), [](Sequence const& sequence) { return sequence.pending() > 0; });
    if (last == active_.rend()) return;
    std::int64_t const most = good_row_count(planned_rows() + most_prefill_rows_);
    for (Sequence& sequence : active_) {
        std::int64_t const room = most - planned_rows();
        if (room <= 0) return;
        if (sequence.pending() == 0) continue;
        share_pages(sequence);
        std::int64_t rows = std::min(room, sequence.pending());
        if (&sequence == &*last) {
            // The end of the prompt waits for the next step, unless that is most of it.
            std::int64_t const fewer = good_row_count(planned_rows() + rows) - planned_rows();
            if (2 * fewer >= rows) rows = fewer;
        }
        add_rows(sequence, rows);
    }
}

void Scheduler::add_rows(Sequence& sequence, std::int64_t rows) {
    auto const first_row = static_cast<std::int64_t>(tokens_.size());
    std::int64_t const first = sequence.stored();
    for (std::int64_t position = first; position < first + rows; ++position) {
        tokens_.push_back(sequence.inputs()[static_cast<std::size_t>(position)]);
        positions_.push_back(static_cast<std::int32_t>(position));
    }
    segments_.push_back({first_row, rows, first, sequence.pages});
    sequence.mark_stored(rows);
    publish_pages(sequence, first);
    if (sequence.pending() > 0) return;
    drawing_.push_back(&sequence);
    drawing_rows_.push_back(static_cast<std::int32_t>(first_row + rows - 1));
}

void Scheduler::take_finished(std::function<void(Sequence&&)> const& done) {
    for (auto sequence = active_.begin(); sequence != active_.end();) {
        if (!sequence->finished()) {
            ++sequence;
            continue;
        }
        pool_.give_back(sequence->pages);
        Sequence finished = std::move(*sequence);
        sequence = active_.erase(sequence);
        done(std::move(finished));
    }
}

}  // namespace selvage

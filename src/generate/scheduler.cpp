// SPDX-License-Identifier: Apache-2.0
#include "generate/scheduler.h"

#include <algorithm>
#include <utility>

namespace selvage {

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
        if (others > 0 && PagePool::pages_for(positions) + others > pool_.free_pages()) return;
        bool const fits = pool_.extend(first.pages, positions);
        SELVAGE_CHECK(fits, "{} positions do not fit into an empty cache of {} pages", positions, pool_.pages());
        auto const place = std::find_if(active_.begin(), active_.end(),
                                        [&](Sequence const& other) { return other.order() > first.order(); });
        active_.splice(place, waiting_, waiting_.begin());
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
    std::int64_t left = most_prefill_rows_;
    for (Sequence& sequence : active_) {
        std::int64_t const rows = std::min(left, sequence.pending());
        // Those above have nothing pending any more.
        if (rows <= 0) continue;
        add_rows(sequence, rows);
        left -= rows;
    }
    planned_prefill_rows_ = most_prefill_rows_ - left;
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
    if (sequence.pending() > 0) return;
    drawing_.push_back(&sequence);
    drawing_rows_.push_back(static_cast<std::int32_t>(first_row + rows - 1));
}

std::optional<Sequence> Scheduler::take_finished() {
    for (auto sequence = active_.begin(); sequence != active_.end(); ++sequence) {
        if (!sequence->finished()) continue;
        pool_.give_back(sequence->pages);
        Sequence finished = std::move(*sequence);
        active_.erase(sequence);
        return finished;
    }
    return std::nullopt;
}

}  // namespace selvage

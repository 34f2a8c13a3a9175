// SPDX-License-Identifier: Apache-2.0
#include "model/shard_cut_search.h"

#include <algorithm>
#include <limits>

namespace selvage {

using kernels::Candidate;
using kernels::Cut;
using kernels::Measure;
using kernels::WeightRange;

ShardCutSearch::ShardCutSearch(Communicator& axis, Range part)
    : first_id_(part.begin),
      ranks_(static_cast<std::size_t>(axis.size())),
      rank_(static_cast<std::size_t>(axis.rank())),
      exchange_(axis) {}

std::span<ShardCutSearch::Found const> ShardCutSearch::find(std::span<Wanted const> wanted,
                                                            std::int64_t Measure::*measure, Weights const& own,
                                                            Stream& stream) {
    own_ = own;
    found_.assign(wanted.size(), {});
    searches_.clear();
    candidates_.clear();
    if (wanted.empty()) return found_;
    start(wanted, measure, stream);
    narrow(wanted, stream);
    gather_candidates(wanted, stream);
    for (std::size_t i = 0; i < searches_.size(); ++i) {
        Search const& search = searches_[i];
        Found& found = found_[search.wanted];
        if (search.few()) {
            found.candidates = std::span(candidates_).subspan(search.first_candidate, search.candidates);
            reordered_.assign(found.candidates.begin(), found.candidates.end());
            found.cut = search.range.cut(reordered_);
        } else {
            found.cut = cut_of_equal(i, wanted[search.wanted].row, stream);
        }
    }
    return found_;
}

// Measures all from `low` up.
void ShardCutSearch::start(std::span<Wanted const> wanted, std::int64_t Measure::*measure, Stream& stream) {
    ranges_.clear();
    for (Wanted const& one : wanted) ranges_.push_back({.row = one.row, .low = one.low});
    measure_ranges(stream);
    from_low_.resize(wanted.size() * ranks_);
    from_high_.assign(from_low_.size(), {});
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        Measure const all = measured(i, of_search(from_low_, searches_.size(), ranks_));
        if (all.*measure > wanted[i].need)
            searches_.push_back({i, kernels::CutSearch(wanted[i].low, all, wanted[i].need, measure)});
        else
            found_[i].cut = {{wanted[i].low, Cut().last.id}, all.sum, false};
    }
}

void ShardCutSearch::narrow(std::span<Wanted const> wanted, Stream& stream) {
    by_rank_.resize(ranks_);
    for (;;) {
        ranges_.clear();
        asked_.clear();
        for (std::size_t i = 0; i < searches_.size(); ++i) {
            Search const& search = searches_[i];
            if (search.range.done()) continue;
            ranges_.push_back({.row = wanted[search.wanted].row, .low = search.range.middle()});
            asked_.push_back(i);
        }
        if (asked_.empty()) return;
        measure_ranges(stream);
        for (std::size_t i = 0; i < asked_.size(); ++i) {
            bool const upper = searches_[asked_[i]].range.take(measured(i, by_rank_));
            std::ranges::copy(by_rank_, of_search(upper ? from_low_ : from_high_, asked_[i], ranks_).begin());
        }
    }
}

// Of the searches with few left.
void ShardCutSearch::gather_candidates(std::span<Wanted const> wanted, Stream& stream) {
    ranges_.clear();
    counts_.assign(ranks_, 0);
    for (std::size_t i = 0; i < searches_.size(); ++i) {
        Search const& search = searches_[i];
        if (!search.few()) continue;
        ranges_.push_back({wanted[search.wanted].row, search.range.low(), search.range.high(),
                           static_cast<std::int64_t>(counts_[rank_])});
        for (std::size_t rank = 0; rank < ranks_; ++rank) counts_[rank] += static_cast<std::size_t>(in_range(i, rank));
    }
    own_candidates_.resize(counts_[rank_]);
    kernels::candidates_between(own_candidates_, own_.weights, own_.ids, ranges_, stream);
    for (Candidate const& own : own_candidates_)
        exchange_.put(Candidate{own.weight, own.id + static_cast<std::int32_t>(first_id_)});
    exchange_.gather(counts_);
    taken_.assign(ranks_, 0);
    for (std::size_t i = 0; i < searches_.size(); ++i) {
        Search& search = searches_[i];
        if (!search.few()) continue;
        search.first_candidate = candidates_.size();
        search.candidates = static_cast<std::size_t>(search.range.in_range());
        for (std::size_t rank = 0; rank < ranks_; ++rank)
            for (std::int64_t left = in_range(i, rank); left > 0; --left) {
                auto candidate = exchange_.get<Candidate>(rank, taken_[rank]++);
                candidate.id -= static_cast<std::int32_t>(first_id_);
                candidates_.push_back(candidate);
            }
    }
}

// All weights that are left are equal: the lowest ids of them stay, those of lower ranks first.
Cut ShardCutSearch::cut_of_equal(std::size_t search, std::int64_t row, Stream& stream) {
    kernels::CutSearch const& range = searches_[search].range;
    Cut cut = range.cut_of_equal();
    std::int64_t kept = range.kept_of_equal();
    for (std::size_t rank = 0; rank < rank_; ++rank) kept -= in_range(search, rank);
    std::int64_t const own = in_range(search, rank_);
    if (kept <= 0) {
        cut.last.id = -1;
    } else if (kept < own) {
        own_candidates_.resize(static_cast<std::size_t>(own));
        WeightRange const equal{row, range.low(), range.high(), 0};
        kernels::candidates_between(own_candidates_, own_.weights, own_.ids, std::span(&equal, 1), stream);
        cut.last.id = own_candidates_[static_cast<std::size_t>(kept - 1)].id;
    }
    return cut;
}

void ShardCutSearch::measure_ranges(Stream& stream) {
    measures_.resize(ranges_.size());
    kernels::measure_weights(measures_, own_.weights, own_.ids, ranges_, stream);
    for (Measure const& own : measures_) {
        exchange_.put(own.count);
        exchange_.put(own.sum);
    }
    exchange_.gather();
}

// The sum over the ranks, and the ranks' own.
Measure ShardCutSearch::measured(std::size_t range, std::span<Measure> by_rank) const {
    Measure all;
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
        by_rank[rank] = {exchange_.get<std::int64_t>(rank, 2 * range),
                         exchange_.get<std::int64_t>(rank, 2 * range + 1)};
        all += by_rank[rank];
    }
    return all;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "kernels/vocabulary_shard.h"
#include "model/word_exchange.h"
#include "tensor/layout.h"

namespace selvage {

// Finds where top-k and top-p cut rows whose weights are split over ranks.
class ShardCutSearch {
  public:
    // part: the ids of this rank. Keeps a reference to the axis.
    ShardCutSearch(Communicator& axis, Range part);

    // The sampling weights of this rank's ids, as kernels::shard_weights() leaves them.
    struct Weights {
        TensorView weights;
        std::int64_t ids = 0;
    };
    // The shortest prefix of a row whose measure is `need` at least; or all weights from `low` up, where those do not
    // measure more.
    struct Wanted {
        std::int64_t row = 0;
        float low = kernels::least_weight;
        std::int64_t need = 0;
    };
    // The cut's last id is a column of this rank's part, or lies outside of it; its total is that of all ranks. Where
    // it is listed: all that is kept is among the candidates, which are of all ranks, by id.
    struct Found {
        kernels::Cut cut;
        std::span<kernels::Candidate const> candidates;
    };
    // Collective; all rows in lock step. What is found is valid until the next call.
    std::span<Found const> find(std::span<Wanted const> wanted, std::int64_t kernels::Measure::*measure,
                                Weights const& own, Stream& stream);

  private:
    struct Search {
        std::size_t wanted = 0;
        kernels::CutSearch range;
        std::size_t first_candidate = 0, candidates = 0;
        bool few() const { return range.in_range() <= kernels::CutSearch::few; }
    };
    void start(std::span<Wanted const> wanted, std::int64_t kernels::Measure::*measure, Stream& stream);
    void narrow(std::span<Wanted const> wanted, Stream& stream);
    void gather_candidates(std::span<Wanted const> wanted, Stream& stream);
    kernels::Cut cut_of_equal(std::size_t search, std::int64_t row, Stream& stream);

    void measure_ranges(Stream& stream);
    kernels::Measure measured(std::size_t range, std::span<kernels::Measure> by_rank) const;
    static std::span<kernels::Measure> of_search(std::vector<kernels::Measure>& measures, std::size_t search,
                                                 std::size_t ranks) {
        return std::span(measures).subspan(search * ranks, ranks);
    }
    std::int64_t in_range(std::size_t search, std::size_t rank) const {
        return from_low_[search * ranks_ + rank].count - from_high_[search * ranks_ + rank].count;
    }

    std::int64_t first_id_;
    std::size_t ranks_, rank_;
    WordExchange exchange_;
    Weights own_;
    std::vector<Search> searches_;
    std::vector<kernels::Measure> from_low_, from_high_;  // [searches][ranks]
    std::vector<kernels::WeightRange> ranges_;
    std::vector<kernels::Measure> measures_, by_rank_;
    std::vector<std::size_t> asked_, counts_, taken_;
    std::vector<kernels::Candidate> own_candidates_, candidates_, reordered_;
    std::vector<Found> found_;
};

}  // namespace selvage

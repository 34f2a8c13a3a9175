// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "kernels/sampling.h"
#include "kernels/vocabulary_shard.h"
#include "model/shard_cut_search.h"
#include "model/word_exchange.h"
#include "tensor/layout.h"

namespace selvage {

// Draws tokens (kernels/sampling.h) where the vocabulary is split over ranks. What is added up are whole numbers, so
// the tokens are those that one rank would draw.
class ShardSampler {
  public:
    // part: the ids of this rank; arena: of the logits' device (null: host memory). Keeps references to both.
    ShardSampler(Communicator& axis, Range part, Arena* arena = nullptr);

    struct Logits {
        TensorView logits;         // of this rank's part
        std::int64_t ids = 0;      // that may be drawn, of this part
        std::int64_t all_ids = 0;  // and of all parts
    };
    // A row to draw, its maximum known.
    void add(kernels::ShardRow const& row, kernels::Sampling const& options);
    // Collective: draws what was added since the last time, by row of the logits. Token -1: no token has any weight.
    void draw(std::int32_t* tokens, float* log_probability, Logits const& own, Stream& stream);

  private:
    struct Row {
        kernels::ShardRow row;
        double top_p = 1;  // that is still to be cut
        std::uint64_t bits = 0;
        std::int64_t weights_row = 0;
        kernels::Cut cut{};  // as ShardCutSearch finds it
        float bound = kernels::least_weight;
        bool drawn = false;
    };
    // Rows with cuts keep their weights; so many go in lock step.
    static constexpr std::size_t group_rows = 64;

    void draw_group(std::span<Row> rows);
    void weigh(std::span<Row> rows, bool keep);
    void gather_totals(std::span<Row> rows);
    void want(Row& row, float low, std::int64_t need);
    void apply(std::int64_t kernels::Measure::*measure);
    void draw_listed(Row& row, std::span<kernels::Candidate const> candidates);
    void draw_pending();
    void draw_from_part(Row const& row, std::size_t pending, std::int64_t target);
    void set(Row const& row, std::int32_t token, float log_probability);

    TensorView weights_for(std::int64_t rows, std::int64_t stride);

    Communicator& axis_;
    Range part_;
    Arena* arena_;
    WordExchange exchange_;
    ShardCutSearch cut_search_;
    std::vector<Row> plain_, cutting_;
    // Of one draw().
    Logits own_;
    Stream* stream_ = nullptr;
    std::int32_t* tokens_ = nullptr;
    float* log_probability_ = nullptr;
    // Of one group, or of all rows without cuts.
    TensorView kept_;
    std::vector<kernels::ShardRow> shard_rows_;
    std::vector<std::int64_t> totals_;  // [rows][blocks of this part]
    std::vector<float> bounds_;
    std::vector<float> weights_;  // without an arena
    Tensor device_weights_;       // with one; grows
    std::vector<ShardCutSearch::Wanted> wanted_;
    std::vector<Row*> asking_, pending_;
    std::vector<kernels::Candidate> reordered_, drawn_;
    std::vector<kernels::RowCut> cuts_;
    std::vector<kernels::BlockDraw> draws_;
    std::vector<std::size_t> drawing_;
    std::vector<std::int64_t> results_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "kernels/vocabulary_shard.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/logit_rows.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/row_weights.h"
#include "kernels/cpu/table.h"

namespace selvage::kernels::cpu {
namespace {

constexpr auto index(std::int64_t i) { return static_cast<std::size_t>(i); }

void check_part(std::int64_t ids, TensorView logits) {
    SELVAGE_CHECK(logits.rank() == 2 && 0 <= ids && ids <= logits.dim(1), "{} ids of logits of shape {}", ids,
                  logits.shape().text());
}

// work(i) for each item of a span, of which each touches about `ids` floats.
template <class Items, class Work>
void over_items(Items const& items, std::int64_t ids, Work const& work) {
    auto const count = static_cast<std::int64_t>(items.size());
    parallel_for(count, 1, 4 * count * ids, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) work(index(i));
    });
}

// Row `row` of the kept weights.
RowWeights kept_row(TensorView weights, std::int64_t row, std::int64_t ids) {
    return {nullptr, ids, 0, 1, weights.as<float>() + row * weights_stride(ids)};
}

}  // namespace

void block_sums(std::span<BlockSum> sums, std::span<float> largest, TensorView logits, std::int64_t ids, Stream&) {
    check_part(ids, logits);
    std::int64_t const blocks = vocabulary_blocks(logits.dim(1));
    SELVAGE_CHECK(sums.size() == index(logits.dim(0) * blocks), "{} sums of blocks", sums.size());
    over_rows(logits, [&](std::int64_t row, float const* x) {
        float max = 0;
        kernel_table().row_block_sums(sums.data() + row * blocks, x, logits.dim(1), ids, &max);
        if (!largest.empty()) largest[index(row)] = max;
    });
}

void merge_block_sums(TensorView log_sum_exp, std::span<BlockSum const> sums, Stream&) {
    std::int64_t const rows = log_sum_exp.elements();
    std::int64_t const blocks = rows == 0 ? 0 : static_cast<std::int64_t>(sums.size()) / rows;
    for (std::int64_t row = 0; row < rows; ++row)
        log_sum_exp.as<float>()[row] = kernel_table().merge_block_sums(sums.data() + row * blocks, blocks);
}

void shard_argmax(std::span<LargestLogit> largest, TensorView logits, std::int64_t ids, Stream&) {
    check_part(ids, logits);
    over_rows(logits, [&](std::int64_t row, float const* x) {
        LargestLogit& best = largest[index(row)] = {};
        if (ids == 0) return;
        std::int64_t const column = kernel_table().row_argmax(x, ids);
        if (!std::isnan(x[column])) best = {x[column], static_cast<std::int32_t>(column)};
    });
}

void shard_target_log_probability(std::span<float> out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  std::int64_t first_id, Stream&) {
    std::int64_t const columns = logits.dim(1);
    for (std::int64_t row = 0; row < logits.dim(0); ++row) {
        std::int64_t const column = targets.as<std::int32_t>()[row] - first_id;
        bool const here = 0 <= column && column < columns;
        out[index(row)] = here ? logits.as<float>()[row * columns + column] - log_sum_exp.as<float>()[row] : 0.0F;
    }
}

void shard_weights(std::span<std::int64_t> totals, std::span<float> bounds, TensorView weights, TensorView logits,
                   std::int64_t ids, std::span<ShardRow const> rows, Stream&) {
    check_part(ids, logits);
    std::int64_t const blocks = vocabulary_blocks(ids);
    bool const keep = !weights.empty();
    over_items(rows, 4 * ids, [&](std::size_t i) {
        thread_local std::vector<float> lane_maxima;
        ShardRow const& row = rows[i];
        float* const kept = keep ? weights.as<float>() + static_cast<std::int64_t>(i) * weights_stride(ids) : nullptr;
        RowWeights const of_row(logits.as<float>() + row.row * logits.dim(1), ids, row.max, row.temperature, kept);
        if (keep) lane_maxima.resize(index(16 * blocks));
        of_row.compute(totals.data() + static_cast<std::int64_t>(i) * blocks, keep ? lane_maxima.data() : nullptr);
        if (keep && row.top_k > 0) bounds[i] = bound_of_largest(lane_maxima, row.top_k);
    });
}

void measure_weights(std::span<Measure> measures, TensorView weights, std::int64_t ids,
                     std::span<WeightRange const> ranges, Stream&) {
    over_items(ranges, ids,
               [&](std::size_t i) { measures[i] = kept_row(weights, ranges[i].row, ids).at_least(ranges[i].low); });
}

void candidates_between(std::span<Candidate> candidates, TensorView weights, std::int64_t ids,
                        std::span<WeightRange const> ranges, Stream&) {
    over_items(ranges, ids, [&](std::size_t i) {
        thread_local std::vector<std::int32_t> columns;
        columns.resize(index(weights_stride(ids)));
        WeightRange const& range = ranges[i];
        RowWeights const row = kept_row(weights, range.row, ids);
        std::int64_t const count = row.select(columns.data(), range.low, range.high);
        for (std::int64_t j = 0; j < count; ++j) candidates[index(range.first + j)] = row.candidate(columns[index(j)]);
    });
}

void kept_totals(std::span<std::int64_t> totals, TensorView weights, std::int64_t ids, std::span<RowCut const> cuts,
                 Stream&) {
    std::int64_t const blocks = vocabulary_blocks(ids);
    over_items(cuts, ids, [&](std::size_t i) {
        RowWeights const row = kept_row(weights, cuts[i].row, ids);
        for (std::int64_t block = 0; block < blocks; ++block)
            totals[i * index(blocks) + index(block)] = row.kept_of(block, cuts[i].cut);
    });
}

void draw_in_blocks(std::span<Candidate> drawn, TensorView logits, std::int64_t ids, std::span<BlockDraw const> draws,
                    Stream&) {
    check_part(ids, logits);
    over_items(draws, 4 * vocabulary_block, [&](std::size_t i) {
        ShardRow const& row = draws[i].row;
        RowWeights const of_row(logits.as<float>() + row.row * logits.dim(1), ids, row.max, row.temperature, nullptr);
        drawn[i] = of_row.draw_in(draws[i].block, draws[i].cut, draws[i].target);
    });
}

void fill_vocabulary_shard(Operations& operations) {
    operations.block_sums = block_sums;
    operations.merge_block_sums = merge_block_sums;
    operations.shard_argmax = shard_argmax;
    operations.shard_target_log_probability = shard_target_log_probability;
    operations.shard_weights = shard_weights;
    operations.measure_weights = measure_weights;
    operations.candidates_between = candidates_between;
    operations.kept_totals = kept_totals;
    operations.draw_in_blocks = draw_in_blocks;
}

}  // namespace selvage::kernels::cpu

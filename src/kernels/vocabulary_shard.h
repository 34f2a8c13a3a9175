// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank computes where the vocabulary is split over ranks: logits [rows, columns] are those of its own ids, from
// some first id on. Putting the ranks' results together is for the caller (model/vocabulary.h). Columns count from the
// shard's first id; `ids` is the number of its columns that may be drawn, the first ones, and may be 0. Spans are host
// memory; what is written to them is there when the call returns.
#include <cstdint>
#include <limits>
#include <span>

#include "device/device.h"
#include "kernels/block_sum.h"
#include "kernels/sampling_cuts.h"
#include "kernels/softmax.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

constexpr std::int64_t vocabulary_blocks(std::int64_t columns) {
    return (columns + vocabulary_block - 1) / vocabulary_block;
}

// sums [rows][blocks], as log_sum_exp() makes them, and, unless empty, largest [rows]: the largest logit that may be
// drawn, minus infinity where there is none.
void block_sums(std::span<BlockSum> sums, std::span<float> largest, TensorView logits, std::int64_t ids,
                Stream& stream);
// log_sum_exp [rows] of the sums [rows][blocks] of all shards.
void merge_block_sums(TensorView log_sum_exp, std::span<BlockSum const> sums, Stream& stream);

// Column -1: no logit at all (nothing may be drawn, or nothing is a number).
struct LargestLogit {
    float logit = -std::numeric_limits<float>::infinity();
    std::int32_t column = -1;
};
// largest [rows], ties to the lowest column.
void shard_argmax(std::span<LargestLogit> largest, TensorView logits, std::int64_t ids, Stream& stream);

// As the functions of the whole vocabulary; a target outside the shard has log-probability 0 here, and no part in the
// gradient.
void shard_target_log_probability(std::span<float> out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  std::int64_t first_id, Stream& stream);
void shard_cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  TensorView weight, std::int64_t first_id, Stream& stream);

// Sampling (kernels/sampling.h) of some rows.
struct ShardRow {
    std::int64_t row = 0;  // of the logits
    float max = 0;         // of all shards
    float temperature = 1;
    std::int64_t top_k = 0;
};
// Floats of a row of `weights`.
constexpr std::int64_t weights_stride(std::int64_t ids) { return (ids + 15) / 16 * 16; }

// totals [rows][blocks of ids]: the sums of weights. Unless `weights` [rows, weights_stride(ids)] is empty they are
// kept in it, and bounds [rows] are weights that top_k ids of this shard reach at least, or least_weight.
void shard_weights(std::span<std::int64_t> totals, std::span<float> bounds, TensorView weights, TensorView logits,
                   std::int64_t ids, std::span<ShardRow const> rows, Stream& stream);

// Of row `row` of the weights, those in [low, high).
struct WeightRange {
    std::int64_t row = 0;
    float low = least_weight;
    float high = std::numeric_limits<float>::infinity();
    std::int64_t first = 0;  // where the candidates go
};
// What is in each range; `high` plays no part.
void measure_weights(std::span<Measure> measures, TensorView weights, std::int64_t ids,
                     std::span<WeightRange const> ranges, Stream& stream);
// The candidates of each range, by column.
void candidates_between(std::span<Candidate> candidates, TensorView weights, std::int64_t ids,
                        std::span<WeightRange const> ranges, Stream& stream);

// A cut of a row of the weights, its last id as a column: any number where that is in another shard.
struct RowCut {
    std::int64_t row = 0;
    Cut cut;
};
// totals [cuts][blocks of ids] of what is kept.
void kept_totals(std::span<std::int64_t> totals, TensorView weights, std::int64_t ids, std::span<RowCut const> cuts,
                 Stream& stream);

// The first kept column of a block whose cumulative weight, from the block's first column on, exceeds `target`.
struct BlockDraw {
    ShardRow row;
    Cut cut;
    std::int64_t block = 0;
    std::int64_t target = 0;
};
void draw_in_blocks(std::span<Candidate> drawn, TensorView logits, std::int64_t ids, std::span<BlockDraw const> draws,
                    Stream& stream);

}  // namespace selvage::kernels

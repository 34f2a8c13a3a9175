// SPDX-License-Identifier: Apache-2.0
#include "kernels/operations.h"

#include "kernels/cpu/operations.h"
#include "kernels/cuda/operations.h"

namespace selvage::kernels {

Operations const& operations(Stream const& stream) {
    switch (stream.device()) {
        case DeviceKind::cpu:
            return cpu::operations();
        case DeviceKind::cuda:
#if defined(SELVAGE_CUDA) || defined(SELVAGE_EMULATION)
            return cuda::operations();
#else
            break;
#endif
    }
    fail(ExitCode::internal, "no kernels for device {}", static_cast<int>(stream.device()));
}

void gated_forward(TensorView out, TensorView gate, TensorView up, Gate function, Stream& stream) {
    operations(stream).gated_forward(out, gate, up, function, stream);
}

void gated_backward(TensorView d_gate, TensorView d_up, TensorView d_out, TensorView gate, TensorView up, Gate function,
                    Stream& stream) {
    operations(stream).gated_backward(d_gate, d_up, d_out, gate, up, function, stream);
}

void gelu_forward(TensorView out, TensorView in, Stream& stream) { operations(stream).gelu_forward(out, in, stream); }

void gelu_backward(TensorView d_in, TensorView d_out, TensorView in, Stream& stream) {
    operations(stream).gelu_backward(d_in, d_out, in, stream);
}

void add_in_place(TensorView to, TensorView from, Stream& stream) { operations(stream).add_in_place(to, from, stream); }

void add_to_rows(TensorView rows, TensorView row, Stream& stream) { operations(stream).add_to_rows(rows, row, stream); }

void fill(TensorView out, float value, Stream& stream) { operations(stream).fill(out, value, stream); }

void add_column_sums(TensorView sums, TensorView rows, Stream& stream) {
    operations(stream).add_column_sums(sums, rows, stream);
}

void convert(TensorView out, TensorView in, Stream& stream) { operations(stream).convert(out, in, stream); }

void adamw_update(TensorView values, TensorView first_moment, TensorView second_moment, TensorView gradient,
                  AdamWStep const& step, Stream& stream) {
    operations(stream).adamw_update(values, first_moment, second_moment, gradient, step, stream);
}

void block_sums_of_squares(double* out, TensorView values, std::int64_t block, Stream& stream) {
    operations(stream).block_sums_of_squares(out, values, block, stream);
}

void store_kv(KvPages pages, TensorView keys, TensorView values, std::span<AttentionSegment const> segments,
              Stream& stream) {
    operations(stream).store_kv(pages, keys, values, segments, stream);
}

void attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                       std::span<AttentionSegment const> segments, float scale, Stream& stream) {
    operations(stream).attention_forward(out, log_sum_exp, queries, pages, segments, scale, stream);
}

void attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                        TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                        std::span<AttentionSegment const> segments, float scale, Stream& stream) {
    operations(stream).attention_backward(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys, values,
                                          segments, scale, stream);
}

void cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            TensorView weight, Stream& stream) {
    operations(stream).cross_entropy_backward(d_logits, logits, log_sum_exp, targets, weight, stream);
}

void embedding_forward(TensorView out, TensorView table, TensorView tokens, Stream& stream) {
    operations(stream).embedding_forward(out, table, tokens, stream);
}

void embedding_backward(TensorView d_table, TensorView d_out, TensorView tokens, Stream& stream) {
    operations(stream).embedding_backward(d_table, d_out, tokens, stream);
}

void gather_rows(TensorView out, TensorView in, TensorView rows, Stream& stream) {
    operations(stream).gather_rows(out, in, rows, stream);
}

void scatter_rows(TensorView out, TensorView in, TensorView rows, Stream& stream) {
    operations(stream).scatter_rows(out, in, rows, stream);
}

void rmsnorm_forward(TensorView out, TensorView rstd, TensorView sum, TensorView in, TensorView branch,
                     TensorView weight, float epsilon, Stream& stream) {
    operations(stream).rmsnorm_forward(out, rstd, sum, in, branch, weight, epsilon, stream);
}

void rmsnorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                      TensorView d_out, TensorView in, TensorView rstd, TensorView weight, Stream& stream) {
    operations(stream).rmsnorm_backward(d_in, d_in_compute, accumulate, d_weight, d_out, in, rstd, weight, stream);
}

void layernorm_forward(TensorView out, TensorView mean, TensorView rstd, TensorView sum, TensorView in,
                       TensorView branch, TensorView weight, TensorView bias, float epsilon, Stream& stream) {
    operations(stream).layernorm_forward(out, mean, rstd, sum, in, branch, weight, bias, epsilon, stream);
}

void layernorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                        TensorView d_bias, TensorView d_out, TensorView in, TensorView mean, TensorView rstd,
                        TensorView weight, Stream& stream) {
    operations(stream).layernorm_backward(d_in, d_in_compute, accumulate, d_weight, d_bias, d_out, in, mean, rstd,
                                          weight, stream);
}

void rotary_forward(TensorView x, TensorView positions, RotaryOptions const& options, Stream& stream) {
    operations(stream).rotary_forward(x, positions, options, stream);
}

void rotary_backward(TensorView d_x, TensorView positions, RotaryOptions const& options, Stream& stream) {
    operations(stream).rotary_backward(d_x, positions, options, stream);
}

void sample(TensorView tokens, TensorView log_probability, TensorView log_sum_exp, TensorView logits, std::int64_t ids,
            std::span<Sampling const> rows, Stream& stream) {
    operations(stream).sample(tokens, log_probability, log_sum_exp, logits, ids, rows, stream);
}

void log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream& stream) {
    operations(stream).log_sum_exp(log_sum_exp, logits, stream);
}

void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            Stream& stream) {
    operations(stream).target_log_probability(out, logits, log_sum_exp, targets, stream);
}

void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream) {
    operations(stream).argmax(out, logits, ids, stream);
}

void block_sums(std::span<BlockSum> sums, std::span<float> largest, TensorView logits, std::int64_t ids,
                Stream& stream) {
    operations(stream).block_sums(sums, largest, logits, ids, stream);
}

void merge_block_sums(TensorView log_sum_exp, std::span<BlockSum const> sums, Stream& stream) {
    operations(stream).merge_block_sums(log_sum_exp, sums, stream);
}

void shard_argmax(std::span<LargestLogit> largest, TensorView logits, std::int64_t ids, Stream& stream) {
    operations(stream).shard_argmax(largest, logits, ids, stream);
}

void shard_target_log_probability(std::span<float> out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  std::int64_t first_id, Stream& stream) {
    operations(stream).shard_target_log_probability(out, logits, log_sum_exp, targets, first_id, stream);
}

void shard_cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  TensorView weight, std::int64_t first_id, Stream& stream) {
    operations(stream).shard_cross_entropy_backward(d_logits, logits, log_sum_exp, targets, weight, first_id, stream);
}

void shard_weights(std::span<std::int64_t> totals, std::span<float> bounds, TensorView weights, TensorView logits,
                   std::int64_t ids, std::span<ShardRow const> rows, Stream& stream) {
    operations(stream).shard_weights(totals, bounds, weights, logits, ids, rows, stream);
}

void measure_weights(std::span<Measure> measures, TensorView weights, std::int64_t ids,
                     std::span<WeightRange const> ranges, Stream& stream) {
    operations(stream).measure_weights(measures, weights, ids, ranges, stream);
}

void candidates_between(std::span<Candidate> candidates, TensorView weights, std::int64_t ids,
                        std::span<WeightRange const> ranges, Stream& stream) {
    operations(stream).candidates_between(candidates, weights, ids, ranges, stream);
}

void kept_totals(std::span<std::int64_t> totals, TensorView weights, std::int64_t ids, std::span<RowCut const> cuts,
                 Stream& stream) {
    operations(stream).kept_totals(totals, weights, ids, cuts, stream);
}

void draw_in_blocks(std::span<Candidate> drawn, TensorView logits, std::int64_t ids, std::span<BlockDraw const> draws,
                    Stream& stream) {
    operations(stream).draw_in_blocks(drawn, logits, ids, draws, stream);
}

}  // namespace selvage::kernels

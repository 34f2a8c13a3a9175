// SPDX-License-Identifier: Apache-2.0
#include "kernels/operations.h"

#include <type_traits>

#include "kernels/attention_arguments.h"
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

namespace {

// A backend would follow the pointer of another device's tensor all the same.
void check_device(TensorView tensor, Stream const& stream) {
    SELVAGE_CHECK(tensor.empty() || tensor.device() == stream.device(),
                  "a tensor {} of another device than the stream's", tensor.shape().text());
}
void check_device(KvPages const& pages, Stream const& stream) { check_device(pages.pages, stream); }
void check_device(NormWeight const& weight, Stream const& stream) { check_device(weight.value, stream); }
template <class Other>
requires(!std::is_convertible_v<Other, TensorView>) void check_device(Other const&, Stream const&) {}

template <class... Parameters, class... Arguments>
void run(void (*Operations::*operation)(Parameters...), Stream& stream, Arguments const&... arguments) {
    (check_device(arguments, stream), ...);
    (operations(stream).*operation)(arguments..., stream);
}

}  // namespace

void gated_forward(TensorView out, TensorView gate, TensorView up, Gate function, Stream& stream) {
    run(&Operations::gated_forward, stream, out, gate, up, function);
}

void gated_backward(TensorView d_gate, TensorView d_up, TensorView d_out, TensorView gate, TensorView up, Gate function,
                    Stream& stream) {
    run(&Operations::gated_backward, stream, d_gate, d_up, d_out, gate, up, function);
}

void gelu_forward(TensorView out, TensorView in, Gelu form, Stream& stream) {
    run(&Operations::gelu_forward, stream, out, in, form);
}

void gelu_backward(TensorView d_in, TensorView d_out, TensorView in, Gelu form, Stream& stream) {
    run(&Operations::gelu_backward, stream, d_in, d_out, in, form);
}

void softcap_forward(TensorView x, float cap, Stream& stream) { run(&Operations::softcap_forward, stream, x, cap); }

void softcap_backward(TensorView d_x, TensorView capped, float cap, Stream& stream) {
    run(&Operations::softcap_backward, stream, d_x, capped, cap);
}

void scale_in_place(TensorView x, float factor, Stream& stream) { run(&Operations::scale_in_place, stream, x, factor); }

void add_in_place(TensorView to, TensorView from, Stream& stream) { run(&Operations::add_in_place, stream, to, from); }

void add_to_rows(TensorView rows, TensorView row, Stream& stream) { run(&Operations::add_to_rows, stream, rows, row); }

void fill(TensorView out, float value, Stream& stream) { run(&Operations::fill, stream, out, value); }

void add_column_sums(TensorView sums, TensorView rows, Stream& stream) {
    run(&Operations::add_column_sums, stream, sums, rows);
}

void convert(TensorView out, TensorView in, Stream& stream) { run(&Operations::convert, stream, out, in); }

void adamw_update(TensorView values, TensorView first_moment, TensorView second_moment, TensorView gradient,
                  AdamWStep const& step, Stream& stream) {
    run(&Operations::adamw_update, stream, values, first_moment, second_moment, gradient, step);
}

void block_sums_of_squares(double* out, TensorView values, std::int64_t block, Stream& stream) {
    run(&Operations::block_sums_of_squares, stream, out, values, block);
}

void store_kv(KvPages pages, TensorView keys, TensorView values, std::span<AttentionSegment const> segments,
              Stream& stream) {
    run(&Operations::store_kv, stream, pages, keys, values, segments);
}

void attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                       std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream) {
    run(&Operations::attention_forward, stream, out, log_sum_exp, queries, pages, segments, options);
}

void AttentionPlan::make(std::span<AttentionSegment const> segments, std::int64_t rows, std::int64_t page_count,
                         Sizes sizes, Stream& stream) {
    check_segments(segments, rows, page_count);
    segments_ = segments;
    sizes_ = {};
    operations(stream).make_attention_plan(*this, sizes, stream);
}

void store_planned_kv(KvPages pages, TensorView keys, TensorView values, AttentionPlan const& plan, Stream& stream) {
    run(&Operations::store_planned_kv, stream, pages, keys, values, plan);
}

void planned_attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                               AttentionPlan const& plan, AttentionOptions const& options, Stream& stream) {
    run(&Operations::planned_attention_forward, stream, out, log_sum_exp, queries, pages, plan, options);
}

void attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                        TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                        std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream) {
    run(&Operations::attention_backward, stream, d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys,
        values, segments, options);
}

void cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            TensorView weight, Stream& stream) {
    run(&Operations::cross_entropy_backward, stream, d_logits, logits, log_sum_exp, targets, weight);
}

void embedding_forward(TensorView out, TensorView table, TensorView tokens, Stream& stream) {
    run(&Operations::embedding_forward, stream, out, table, tokens);
}

void embedding_backward(TensorView d_table, TensorView d_out, TensorView tokens, Stream& stream) {
    run(&Operations::embedding_backward, stream, d_table, d_out, tokens);
}

void gather_rows(TensorView out, TensorView in, TensorView rows, Stream& stream) {
    run(&Operations::gather_rows, stream, out, in, rows);
}

void scatter_rows(TensorView out, TensorView in, TensorView rows, Stream& stream) {
    run(&Operations::scatter_rows, stream, out, in, rows);
}

void rmsnorm_forward(TensorView out, TensorView rstd, TensorView sum, TensorView in, TensorView branch,
                     NormWeight const& weight, float epsilon, Stream& stream) {
    run(&Operations::rmsnorm_forward, stream, out, rstd, sum, in, branch, weight, epsilon);
}

void rmsnorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                      TensorView d_out, TensorView in, TensorView rstd, NormWeight const& weight, Stream& stream) {
    run(&Operations::rmsnorm_backward, stream, d_in, d_in_compute, accumulate, d_weight, d_out, in, rstd, weight);
}

void layernorm_forward(TensorView out, TensorView mean, TensorView rstd, TensorView sum, TensorView in,
                       TensorView branch, TensorView weight, TensorView bias, float epsilon, Stream& stream) {
    run(&Operations::layernorm_forward, stream, out, mean, rstd, sum, in, branch, weight, bias, epsilon);
}

void layernorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                        TensorView d_bias, TensorView d_out, TensorView in, TensorView mean, TensorView rstd,
                        TensorView weight, Stream& stream) {
    run(&Operations::layernorm_backward, stream, d_in, d_in_compute, accumulate, d_weight, d_bias, d_out, in, mean,
        rstd, weight);
}

void rotary_forward(TensorView x, TensorView positions, RotaryOptions const& options, Stream& stream) {
    run(&Operations::rotary_forward, stream, x, positions, options);
}

void rotary_backward(TensorView d_x, TensorView positions, RotaryOptions const& options, Stream& stream) {
    run(&Operations::rotary_backward, stream, d_x, positions, options);
}

void sample(TensorView tokens, TensorView log_probability, TensorView log_sum_exp, TensorView logits, std::int64_t ids,
            std::span<Sampling const> rows, Stream& stream) {
    run(&Operations::sample, stream, tokens, log_probability, log_sum_exp, logits, ids, rows);
}

void log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream& stream) {
    run(&Operations::log_sum_exp, stream, log_sum_exp, logits);
}

void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            Stream& stream) {
    run(&Operations::target_log_probability, stream, out, logits, log_sum_exp, targets);
}

void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream) {
    run(&Operations::argmax, stream, out, logits, ids);
}

void block_sums(std::span<BlockSum> sums, std::span<float> largest, TensorView logits, std::int64_t ids,
                Stream& stream) {
    run(&Operations::block_sums, stream, sums, largest, logits, ids);
}

void merge_block_sums(TensorView log_sum_exp, std::span<BlockSum const> sums, Stream& stream) {
    run(&Operations::merge_block_sums, stream, log_sum_exp, sums);
}

void shard_argmax(std::span<LargestLogit> largest, TensorView logits, std::int64_t ids, Stream& stream) {
    run(&Operations::shard_argmax, stream, largest, logits, ids);
}

void shard_target_log_probability(std::span<float> out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  std::int64_t first_id, Stream& stream) {
    run(&Operations::shard_target_log_probability, stream, out, logits, log_sum_exp, targets, first_id);
}

void shard_cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  TensorView weight, std::int64_t first_id, Stream& stream) {
    run(&Operations::shard_cross_entropy_backward, stream, d_logits, logits, log_sum_exp, targets, weight, first_id);
}

void shard_weights(std::span<std::int64_t> totals, std::span<float> bounds, TensorView weights, TensorView logits,
                   std::int64_t ids, std::span<ShardRow const> rows, Stream& stream) {
    run(&Operations::shard_weights, stream, totals, bounds, weights, logits, ids, rows);
}

void measure_weights(std::span<Measure> measures, TensorView weights, std::int64_t ids,
                     std::span<WeightRange const> ranges, Stream& stream) {
    run(&Operations::measure_weights, stream, measures, weights, ids, ranges);
}

void candidates_between(std::span<Candidate> candidates, TensorView weights, std::int64_t ids,
                        std::span<WeightRange const> ranges, Stream& stream) {
    run(&Operations::candidates_between, stream, candidates, weights, ids, ranges);
}

void kept_totals(std::span<std::int64_t> totals, TensorView weights, std::int64_t ids, std::span<RowCut const> cuts,
                 Stream& stream) {
    run(&Operations::kept_totals, stream, totals, weights, ids, cuts);
}

void draw_in_blocks(std::span<Candidate> drawn, TensorView logits, std::int64_t ids, std::span<BlockDraw const> draws,
                    Stream& stream) {
    run(&Operations::draw_in_blocks, stream, drawn, logits, ids, draws);
}

}  // namespace selvage::kernels

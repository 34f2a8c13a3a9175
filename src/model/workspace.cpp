// SPDX-License-Identifier: Apache-2.0
#include "model/workspace.h"

#include <algorithm>

#include "model/kernel_options.h"

namespace selvage {
namespace {

char const* const activations_name = "activations";
char const* const backward_name = "backward buffers";

Tensor float_tensor(Arena& arena, char const* name, Shape shape) { return Tensor(arena, name, DType::f32, shape); }

}  // namespace

PostNorm::PostNorm(Arena& arena, ModelConfig const& config, RowCounts rows) {
    if (!config.post_norm) return;
    in = float_tensor(arena, activations_name, {rows.own, config.hidden});
    rstd = float_tensor(arena, activations_name, {rows.own});
    if (config.norm == NormKind::layernorm) mean = float_tensor(arena, activations_name, {rows.own});
}

AttentionActivations::AttentionActivations(Arena& arena, Model const& model, RowCounts rows) {
    ModelConfig const& config = model.local();
    auto const floats = [&](Shape shape) { return float_tensor(arena, activations_name, shape); };
    auto const operand = [&](Shape shape) { return Tensor(arena, activations_name, model.compute(), shape); };
    normed = operand({rows.all, config.hidden});
    rstd = floats({rows.own});
    if (config.norm == NormKind::layernorm) mean = floats({rows.own});
    query = operand({rows.all, config.heads, config.head_size});
    key = operand({rows.all, config.kv_heads, config.head_size});
    value = operand({rows.all, config.kv_heads, config.head_size});
    attended = operand({rows.all, config.heads, config.head_size});
    log_sum_exp = floats({rows.all, config.heads});
    auto const head_norm = [&](std::int64_t heads) {
        return HeadNorm{operand({rows.all, heads, config.head_size}), floats({rows.all, heads})};
    };
    if (!config.query_key_norm) return;
    query_norm = head_norm(config.heads);
    key_norm = head_norm(config.kv_heads);
}

MlpActivations::MlpActivations(Arena& arena, Model const& model, RowCounts rows)
    : post_norm(arena, model.local(), rows), attention_post_norm(arena, model.local(), rows) {
    ModelConfig const& config = model.local();
    auto const floats = [&](Shape shape) { return float_tensor(arena, activations_name, shape); };
    auto const operand = [&](Shape shape) { return Tensor(arena, activations_name, model.compute(), shape); };
    middle = floats({rows.own, config.hidden});
    normed = operand({rows.all, config.hidden});
    rstd = floats({rows.own});
    if (config.norm == NormKind::layernorm) mean = floats({rows.own});
    if (gated(config)) gate = operand({rows.all, config.ffn});
    up = operand({rows.all, config.ffn});
    activated = operand({rows.all, config.ffn});
}

BackwardBuffers::BackwardBuffers(Arena& arena, Model const& model, RowCounts rows) {
    ModelConfig const& config = model.local();
    bool const split = model.tensor_axis().size() > 1;
    auto const floats = [&](Shape shape) { return float_tensor(arena, backward_name, shape); };
    auto const typed = [&](Shape shape) { return Tensor(arena, backward_name, model.compute(), shape); };
    residual = floats({rows.own, config.hidden});
    if (model.compute() != DType::f32 || split) operand = typed({rows.all, config.hidden});
    normed = floats({rows.all, config.hidden});
    if (split) own_normed = floats({rows.own, config.hidden});
    if (config.parallel_residual) second_branch = floats({rows.own, config.hidden});
    if (config.post_norm) branch = floats({rows.own, config.hidden});
    query = typed({rows.all, config.heads, config.head_size});
    key = typed({rows.all, config.kv_heads, config.head_size});
    value = typed({rows.all, config.kv_heads, config.head_size});
    attended = typed({rows.all, config.heads, config.head_size});
    activated = typed({rows.all, config.ffn});
    if (!gated(config)) up = typed({rows.all, config.ffn});
}

HeadBuffers::HeadBuffers(Arena& arena, Model const& model, std::int64_t rows_of_batch)
    : chunk_rows(std::min(rows_of_batch, Model::logit_rows)) {
    ModelConfig const& config = model.local();
    logits = float_tensor(arena, "logits", {chunk_rows, config.vocabulary});
    auto const make = [&](DType dtype, Shape shape) { return Tensor(arena, backward_name, dtype, shape); };
    if (model.compute() != DType::f32 || config.logit_softcap != 0)
        d_logits = make(model.compute(), {chunk_rows, config.vocabulary});
    hidden = make(model.compute(), {chunk_rows, config.hidden});
    d_hidden = make(DType::f32, {chunk_rows, config.hidden});
    rows = make(DType::i32, {chunk_rows});
    targets = make(DType::i32, {chunk_rows});
    weights = make(DType::f32, {chunk_rows});
    log_sum_exp = make(DType::f32, {chunk_rows});
    log_probability = make(DType::f32, {chunk_rows});
    host_rows.reserve(static_cast<std::size_t>(rows_of_batch));
    host_targets.reserve(static_cast<std::size_t>(rows_of_batch));
    host_weights.reserve(static_cast<std::size_t>(rows_of_batch));
    host_log_probability.resize(static_cast<std::size_t>(chunk_rows));
}

Workspace::Buffers::Buffers(Arena& arena, Model const& model, std::int64_t rows_of_batch, Keep keep,
                            Recompute recompute_)
    : device(arena.device()),
      rows(rows_of_batch),
      split(keep == Keep::activations ? TensorAxis::Split::always : TensorAxis::Split::for_many),
      recompute(recompute_),
      plan(arena, model.local().heads, model.local().kv_heads, model.compute()),
      inputs(arena, activations_name, DType::i32, {rows * (model.tensor_axis().size() > 1 ? 3 : 2)}) {
    ModelConfig const& config = model.local();
    bool const all = keep == Keep::activations;
    RowCounts const counts{rows, model.tensor_axis().most_own(rows, split)};
    for (std::int64_t i = 0; i < (all ? config.layers + 1 : 1); ++i)
        residuals.push_back(float_tensor(arena, activations_name, {counts.own, config.hidden}));
    auto const kept = [&](bool each) { return all && each ? config.layers : 1; };
    for (std::int64_t i = 0; i < kept(recompute == Recompute::none); ++i) attentions.emplace_back(arena, model, counts);
    for (std::int64_t i = 0; i < kept(recompute != Recompute::block); ++i) mlps.emplace_back(arena, model, counts);
    branch = float_tensor(arena, activations_name, {counts.own, config.hidden});
    if (model.tensor_axis().size() > 1) partial = float_tensor(arena, activations_name, {rows, config.hidden});
    hidden = Tensor(arena, activations_name, model.compute(), {rows, config.hidden});
    rstd = float_tensor(arena, activations_name, {counts.own});
    if (config.norm == NormKind::layernorm) mean = float_tensor(arena, activations_name, {counts.own});
    if (!all) return;
    backward.emplace(arena, model, counts);
    head.emplace(arena, model, rows);
}

void Workspace::Buffers::start(TokenBatch const& batch, Model const& model, std::int64_t page_count,
                               kernels::AttentionPlan::Sizes sizes, Stream& stream) {
    auto const count = static_cast<std::int64_t>(batch.tokens.size());
    std::int64_t const vocabulary = model.config().vocabulary;
    SELVAGE_CHECK(count <= rows, "{} rows in a workspace for {}", count, rows);
    SELVAGE_CHECK(batch.positions.size() == batch.tokens.size(), "{} positions for {} tokens", batch.positions.size(),
                  count);
    std::int64_t covered = 0;
    for (kernels::AttentionSegment const& segment : batch.segments) {
        SELVAGE_CHECK(segment.first_row == covered && segment.rows >= 1, "segment of {} rows at row {} after {} rows",
                      segment.rows, segment.first_row, covered);
        covered += segment.rows;
    }
    SELVAGE_CHECK(covered == count, "segments cover {} of {} rows", covered, count);
    for (std::int32_t const token : batch.tokens)
        SELVAGE_CHECK(0 <= token && token < vocabulary, "token {} of {}", token, vocabulary);
    batch_rows = count;
    own_rows = model.tensor_axis().own(count, split);
    activations_valid = false;
    if (count == 0) return;
    host_inputs_.assign(batch.tokens.begin(), batch.tokens.end());
    host_inputs_.insert(host_inputs_.end(), batch.positions.begin(), batch.positions.end());
    auto const first = static_cast<std::int32_t>(model.vocabulary().part().begin);
    if (model.tensor_axis().size() > 1)
        for (std::int32_t const token : batch.tokens) host_inputs_.push_back(token - first);
    device.copy_to_device(inputs.view().raw(), host_inputs_.data(), host_inputs_.size() * sizeof(std::int32_t), stream);
    plan.make(batch.segments, count, page_count, sizes, stream);
}

TensorView Workspace::Buffers::residual(std::int64_t layer) const {
    return own(residuals[residuals.size() == 1 ? 0 : static_cast<std::size_t>(layer)]);
}

Workspace::Workspace(Arena& arena, Model const& model, std::int64_t rows, Keep keep, Recompute recompute)
    : buffers_(std::make_unique<Buffers>(arena, model, rows, keep, recompute)) {
    SELVAGE_CHECK(rows >= 1, "workspace for {} rows", rows);
}
Workspace::~Workspace() = default;
std::int64_t Workspace::rows() const { return buffers_->rows; }

}  // namespace selvage

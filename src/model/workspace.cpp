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

LayerActivations::LayerActivations(Arena& arena, Model const& model, std::int64_t rows) {
    ModelConfig const& config = model.config();
    auto const floats = [&](Shape shape) { return float_tensor(arena, activations_name, shape); };
    auto const operand = [&](Shape shape) { return Tensor(arena, activations_name, model.compute(), shape); };
    normed = operand({rows, config.hidden});
    rstd = floats({rows});
    query = operand({rows, config.heads, config.head_size});
    key = operand({rows, config.kv_heads, config.head_size});
    value = operand({rows, config.kv_heads, config.head_size});
    attended = operand({rows, config.heads, config.head_size});
    log_sum_exp = floats({rows, config.heads});
    middle = floats({rows, config.hidden});
    mlp_normed = operand({rows, config.hidden});
    mlp_rstd = floats({rows});
    if (config.norm == NormKind::layernorm) {
        mean = floats({rows});
        mlp_mean = floats({rows});
    }
    if (gated(config)) gate = operand({rows, config.ffn});
    up = operand({rows, config.ffn});
    activated = operand({rows, config.ffn});
}

BackwardBuffers::BackwardBuffers(Arena& arena, Model const& model, std::int64_t rows) {
    ModelConfig const& config = model.config();
    auto const floats = [&](Shape shape) { return float_tensor(arena, backward_name, shape); };
    auto const operand = [&](Shape shape) { return Tensor(arena, backward_name, model.compute(), shape); };
    residual = floats({rows, config.hidden});
    normed = floats({rows, config.hidden});
    if (model.compute() != DType::f32) residual_operand = operand({rows, config.hidden});
    if (config.parallel_residual) second_branch = floats({rows, config.hidden});
    query = operand({rows, config.heads, config.head_size});
    key = operand({rows, config.kv_heads, config.head_size});
    value = operand({rows, config.kv_heads, config.head_size});
    attended = operand({rows, config.heads, config.head_size});
    activated = operand({rows, config.ffn});
    if (!gated(config)) up = operand({rows, config.ffn});
}

HeadBuffers::HeadBuffers(Arena& arena, Model const& model, std::int64_t rows_of_batch)
    : chunk_rows(std::min(rows_of_batch, Model::logit_rows)) {
    ModelConfig const& config = model.config();
    logits = float_tensor(arena, "logits", {chunk_rows, config.vocabulary});
    auto const make = [&](DType dtype, Shape shape) { return Tensor(arena, backward_name, dtype, shape); };
    if (model.compute() != DType::f32) d_logits = make(model.compute(), {chunk_rows, config.vocabulary});
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

Workspace::Buffers::Buffers(Arena& arena, Model const& model, std::int64_t rows_of_batch, Keep keep)
    : device(arena.device()),
      rows(rows_of_batch),
      tokens(arena, activations_name, DType::i32, {rows}),
      positions(arena, activations_name, DType::i32, {rows}) {
    ModelConfig const& config = model.config();
    bool const all = keep == Keep::activations;
    for (std::int64_t i = 0; i < (all ? config.layers + 1 : 1); ++i)
        residuals.push_back(float_tensor(arena, activations_name, {rows, config.hidden}));
    for (std::int64_t i = 0; i < (all ? config.layers : 1); ++i) layers.emplace_back(arena, model, rows);
    branch = float_tensor(arena, activations_name, {rows, config.hidden});
    hidden = Tensor(arena, activations_name, model.compute(), {rows, config.hidden});
    rstd = float_tensor(arena, activations_name, {rows});
    if (config.norm == NormKind::layernorm) mean = float_tensor(arena, activations_name, {rows});
    if (!all) return;
    backward.emplace(arena, model, rows);
    head.emplace(arena, model, rows);
}

void Workspace::Buffers::start(TokenBatch const& batch, ModelConfig const& config, Stream& stream) {
    auto const count = static_cast<std::int64_t>(batch.tokens.size());
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
        SELVAGE_CHECK(0 <= token && token < config.vocabulary, "token {} of {}", token, config.vocabulary);
    batch_rows = count;
    activations_valid = false;
    if (count == 0) return;
    device.copy_to_device(tokens.view().raw(), batch.tokens.data(), batch.tokens.size_bytes(), stream);
    device.copy_to_device(positions.view().raw(), batch.positions.data(), batch.positions.size_bytes(), stream);
}

TensorView Workspace::Buffers::residual(std::int64_t layer) const {
    return residuals[residuals.size() == 1 ? 0 : static_cast<std::size_t>(layer)].first(batch_rows);
}

LayerActivations const& Workspace::Buffers::layer(std::int64_t layer) const {
    return layers[layers.size() == 1 ? 0 : static_cast<std::size_t>(layer)];
}

Workspace::Workspace(Arena& arena, Model const& model, std::int64_t rows, Keep keep)
    : buffers_(std::make_unique<Buffers>(arena, model, rows, keep)) {
    SELVAGE_CHECK(rows >= 1, "workspace for {} rows", rows);
}
Workspace::~Workspace() = default;
std::int64_t Workspace::rows() const { return buffers_->rows; }

}  // namespace selvage

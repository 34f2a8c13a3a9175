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

LayerActivations::LayerActivations(Arena& arena, ModelConfig const& config, std::int64_t rows) {
    auto const make = [&](Shape shape) { return float_tensor(arena, activations_name, shape); };
    bool const layernorm = config.norm == NormKind::layernorm;
    normed = make({rows, config.hidden});
    rstd = make({rows});
    query = make({rows, config.heads, config.head_size});
    key = make({rows, config.kv_heads, config.head_size});
    value = make({rows, config.kv_heads, config.head_size});
    attended = make({rows, config.heads, config.head_size});
    log_sum_exp = make({rows, config.heads});
    middle = make({rows, config.hidden});
    mlp_normed = make({rows, config.hidden});
    mlp_rstd = make({rows});
    if (layernorm) {
        mean = make({rows});
        mlp_mean = make({rows});
    }
    if (gated(config)) gate = make({rows, config.ffn});
    up = make({rows, config.ffn});
    activated = make({rows, config.ffn});
}

BackwardBuffers::BackwardBuffers(Arena& arena, ModelConfig const& config, std::int64_t rows) {
    auto const make = [&](Shape shape) { return float_tensor(arena, backward_name, shape); };
    residual = make({rows, config.hidden});
    normed = make({rows, config.hidden});
    branch = make({rows, config.hidden});
    if (config.parallel_residual) second_branch = make({rows, config.hidden});
    query = make({rows, config.heads, config.head_size});
    key = make({rows, config.kv_heads, config.head_size});
    value = make({rows, config.kv_heads, config.head_size});
    attended = make({rows, config.heads, config.head_size});
    activated = make({rows, config.ffn});
    if (!gated(config)) up = make({rows, config.ffn});
}

HeadBuffers::HeadBuffers(Arena& arena, ModelConfig const& config, std::int64_t rows_of_batch)
    : chunk_rows(std::min(rows_of_batch, Model::logit_rows)) {
    logits = float_tensor(arena, "logits", {chunk_rows, config.vocabulary});
    auto const make = [&](DType dtype, Shape shape) { return Tensor(arena, backward_name, dtype, shape); };
    hidden = make(DType::f32, {chunk_rows, config.hidden});
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

Workspace::Buffers::Buffers(Arena& arena, ModelConfig const& config, std::int64_t rows_of_batch, Keep keep)
    : device(arena.device()),
      rows(rows_of_batch),
      tokens(arena, activations_name, DType::i32, {rows}),
      positions(arena, activations_name, DType::i32, {rows}) {
    bool const all = keep == Keep::activations;
    for (std::int64_t i = 0; i < (all ? config.layers + 1 : 1); ++i)
        residuals.push_back(float_tensor(arena, activations_name, {rows, config.hidden}));
    for (std::int64_t i = 0; i < (all ? config.layers : 1); ++i) layers.emplace_back(arena, config, rows);
    hidden = float_tensor(arena, activations_name, {rows, config.hidden});
    rstd = float_tensor(arena, activations_name, {rows});
    if (config.norm == NormKind::layernorm) mean = float_tensor(arena, activations_name, {rows});
    if (!all) return;
    backward.emplace(arena, config, rows);
    head.emplace(arena, config, rows);
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

Workspace::Workspace(Arena& arena, ModelConfig const& config, std::int64_t rows, Keep keep)
    : buffers_(std::make_unique<Buffers>(arena, config, rows, keep)) {
    SELVAGE_CHECK(rows >= 1, "workspace for {} rows", rows);
}
Workspace::~Workspace() = default;
std::int64_t Workspace::rows() const { return buffers_->rows; }

}  // namespace selvage

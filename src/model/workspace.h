// SPDX-License-Identifier: Apache-2.0
#pragma once
// The buffers behind Workspace. Everything is made for `rows` rows at construction and used in part.
#include <optional>
#include <vector>

#include "model/model.h"

namespace selvage {

// What one layer leaves for its backward pass; row-major [rows, ...]. In inference all layers share one.
struct LayerActivations {
    LayerActivations(Arena& arena, Model const& model, std::int64_t rows);
    Tensor normed, mean, rstd;  // of the attention norm; mean is used by LayerNorm only
    Tensor query, key, value;   // query and key after the rotary turn
    Tensor attended, log_sum_exp;
    Tensor middle;  // the residual stream after attention (f32)
    Tensor mlp_normed, mlp_mean, mlp_rstd;
    Tensor gate, up, activated;  // gate is empty for plain GELU
};

// Backward scratch, shared by the layers.
struct BackwardBuffers {
    BackwardBuffers(Arena& arena, Model const& model, std::int64_t rows);
    Tensor residual, normed;  // f32
    Tensor residual_operand;  // bf16 only: the rounded copy of `residual` that products read
    Tensor second_branch;     // parallel residual only; f32
    Tensor query, key, value, attended;
    Tensor activated;
    Tensor up;  // plain GELU only; gated activations write over gate and up
};

// One chunk of rows that have a target.
struct HeadBuffers {
    HeadBuffers(Arena& arena, Model const& model, std::int64_t rows);
    std::int64_t chunk_rows;
    Tensor logits, hidden, d_hidden;
    Tensor d_logits;  // bf16 only; in f32 the gradient takes the place of the logits
    Tensor rows, targets, weights, log_sum_exp, log_probability;
    // The same on the host: all rows with a target, and one chunk's log-probabilities.
    std::vector<std::int32_t> host_rows, host_targets;
    std::vector<float> host_weights, host_log_probability;
};

struct Workspace::Buffers {
    Buffers(Arena& arena, Model const& model, std::int64_t rows, Keep keep);
    // Copies the batch's tokens and positions in; checks that the segments cover its rows.
    void start(TokenBatch const& batch, ModelConfig const& config, Stream& stream);

    // The residual stream that enters `layer`; layers + 1 of them, or one for all.
    TensorView residual(std::int64_t layer) const;
    LayerActivations const& layer(std::int64_t layer) const;
    // The rows of this batch, in the buffer's shape or as a matrix.
    TensorView used(Tensor const& tensor) const { return tensor.first(batch_rows); }
    TensorView matrix(Tensor const& tensor) const {
        TensorView const view = used(tensor);
        return view.reshape({batch_rows, view.elements() / batch_rows});
    }

    Device& device;
    std::int64_t rows;
    std::int64_t batch_rows = 0;     // of the last forward
    bool activations_valid = false;  // forward sets it, backward clears it
    Tensor tokens, positions;
    std::vector<Tensor> residuals;
    Tensor branch;  // output of attention or MLP, not yet added to the residual stream (f32)
    std::vector<LayerActivations> layers;
    Tensor hidden, mean, rstd;  // output of the final norm
    std::optional<BackwardBuffers> backward;
    std::optional<HeadBuffers> head;
};

}  // namespace selvage

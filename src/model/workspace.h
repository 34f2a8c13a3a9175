// SPDX-License-Identifier: Apache-2.0
#pragma once
// The buffers behind Workspace. Everything is made for `rows` rows at construction and used in part.
#include <optional>
#include <vector>

#include "kernels/attention_plan.h"
#include "model/model.h"
#include "model/tensor_axis.h"

namespace selvage {

// Rows of the batch that a tensor has room for: all of them, or those of this rank of the tensor axis, which norms and
// the residual stream are split over ("own" below).
struct RowCounts {
    std::int64_t all = 0;
    std::int64_t own = 0;
};

// What a norm of heads read, [rows, heads, head_size], and its statistics; empty where the model has none.
struct HeadNorm {
    Tensor in, rstd;
};

// What a norm of a branch's output read (f32), and its statistics, all of own rows; empty where the model has none.
struct PostNorm {
    PostNorm(Arena& arena, ModelConfig const& config, RowCounts rows);
    Tensor in, mean, rstd;
};

// What the attention of one layer leaves for its backward pass; row-major [rows, ...].
struct AttentionActivations {
    AttentionActivations(Arena& arena, Model const& model, RowCounts rows);
    Tensor normed, mean, rstd;  // mean and rstd of own rows, mean is used by LayerNorm only
    Tensor query, key, value;   // query and key after the rotary turn
    Tensor attended, log_sum_exp;
    HeadNorm query_norm, key_norm;
    // Where the projections go.
    Tensor const& projected_query() const { return query_norm.in.view().empty() ? query : query_norm.in; }
    Tensor const& projected_key() const { return key_norm.in.view().empty() ? key : key_norm.in; }
};

// And its MLP.
struct MlpActivations {
    MlpActivations(Arena& arena, Model const& model, RowCounts rows);
    Tensor middle;  // the residual stream after attention (f32, own rows)
    Tensor normed, mean, rstd;
    Tensor gate, up, activated;  // gate is empty for plain GELU
    PostNorm post_norm, attention_post_norm;
};

// Backward scratch, shared by the layers.
struct BackwardBuffers {
    BackwardBuffers(Arena& arena, Model const& model, RowCounts rows);
    Tensor residual;       // f32, own rows
    Tensor operand;        // of all rows, as products read it: a copy of `residual` in bf16, or where rows are split
    Tensor normed;         // f32, all rows
    Tensor own_normed;     // where rows are split: the sum of `normed` over the ranks, own rows
    Tensor second_branch;  // parallel residual only; f32, own rows
    Tensor branch;         // post norms only: the gradient of a branch's output before its norm; f32, own rows
    Tensor query, key, value, attended;
    Tensor activated;
    Tensor up;  // plain GELU only; gated activations write over gate and up
};

// One chunk of rows that have a target.
struct HeadBuffers {
    HeadBuffers(Arena& arena, Model const& model, std::int64_t rows);
    std::int64_t chunk_rows;
    Tensor logits, hidden, d_hidden;
    Tensor d_logits;  // empty in f32 without a soft cap: the gradient takes the place of the logits
    Tensor rows, targets, weights, log_sum_exp, log_probability;
    // The same on the host: all rows with a target, and one chunk's log-probabilities.
    std::vector<std::int32_t> host_rows, host_targets;
    std::vector<float> host_weights, host_log_probability;
};

struct Workspace::Buffers {
    Buffers(Arena& arena, Model const& model, std::int64_t rows, Keep keep, Recompute recompute);
    // Copies in what the launches of a pass read of the batch, whose pages are 0 .. page_count - 1; checks that the
    // segments cover its rows.
    void start(TokenBatch const& batch, Model const& model, std::int64_t page_count,
               kernels::AttentionPlan::Sizes sizes, Stream& stream);

    TensorView tokens() const { return input(0); }
    TensorView positions() const { return input(1); }
    // Where the vocabulary is split: as rows of this rank's part, outside of it elsewhere.
    TensorView local_tokens() const { return input(2); }

    // The residual stream that enters `layer`, own rows; layers + 1 of them, or one for all.
    TensorView residual(std::int64_t layer) const;
    // In inference, and where they are computed again, all layers share one.
    AttentionActivations const& attention(std::int64_t layer) const { return of(attentions, layer); }
    MlpActivations const& mlp(std::int64_t layer) const { return of(mlps, layer); }
    // The rows of this batch, in the buffer's shape or as a matrix.
    TensorView used(Tensor const& tensor) const { return tensor.first(batch_rows); }
    TensorView matrix(Tensor const& tensor) const {
        TensorView const view = used(tensor);
        return view.reshape({batch_rows, view.elements() / batch_rows});
    }

    TensorView own(Tensor const& tensor) const { return tensor.first(own_rows.size()); }
    // Own rows of a tensor that has room for all.
    TensorView own_of_all(Tensor const& tensor) const { return matrix(tensor).rows(own_rows.begin, own_rows.end); }

    Device& device;
    std::int64_t rows;
    TensorAxis::Split split;
    Recompute recompute;
    std::int64_t batch_rows = 0;  // of the last forward
    Range own_rows;
    bool activations_valid = false;  // forward sets it, backward clears it
    kernels::AttentionPlan plan;     // of the batch's segments
    Tensor inputs;                   // tokens and their like, one behind the other
    std::vector<Tensor> residuals;
    Tensor branch;   // output of attention or MLP, not yet added to the residual stream (f32, own rows)
    Tensor partial;  // where there are several ranks: this rank's part of a sum over them (f32)
    std::vector<AttentionActivations> attentions;
    std::vector<MlpActivations> mlps;
    Tensor hidden, mean, rstd;  // output of the final norm, and its statistics of own rows
    std::optional<BackwardBuffers> backward;
    std::optional<HeadBuffers> head;

  private:
    TensorView input(std::int64_t which) const {
        return inputs.view().rows(which * batch_rows, (which + 1) * batch_rows);
    }
    template <class Kept>
    static Kept const& of(std::vector<Kept> const& all, std::int64_t layer) {
        return all[all.size() == 1 ? 0 : static_cast<std::size_t>(layer)];
    }
    std::vector<std::int32_t> host_inputs_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/softmax.h"
#include "model/kernel_options.h"
#include "model/model_weights.h"
#include "model/workspace.h"

namespace selvage {
namespace {

using kernels::Accumulate;

// The steps of one backward pass, last operation first. d_residual (buffers.backward->residual) is the gradient of the
// residual stream at the point reached.
struct BackwardPass {
    ModelConfig const& config;
    Workspace::Buffers& buffers;
    TokenBatch const& batch;
    TensorView gradients;
    Stream& stream;

    TensorView matrix(Tensor const& tensor) const { return buffers.matrix(tensor); }
    TensorView used(Tensor const& tensor) const { return buffers.used(tensor); }

    void norm(TensorView d_in, TensorView d_out, TensorView in, Tensor const& mean, Tensor const& rstd,
              Norm const& norm) const {
        TensorView const d_weight = norm.weight.gradient(gradients);
        if (config.norm == NormKind::rmsnorm)
            kernels::rmsnorm_backward(d_in, {}, Accumulate::overwrite, d_weight, d_out, in, used(rstd),
                                      norm.weight.value, stream);
        else
            kernels::layernorm_backward(d_in, {}, Accumulate::overwrite, d_weight, norm.bias.gradient(gradients), d_out,
                                        in, used(mean), used(rstd), norm.weight.value, stream);
    }

    // d_branch = gradient of the MLP branch's input
    void mlp(TensorView d_branch, std::int64_t index, LayerWeights const& weights) const {
        LayerActivations const& layer = buffers.layer(index);
        BackwardBuffers const& d = *buffers.backward;
        weights.down.backward_input(matrix(d.activated), matrix(d.residual), Accumulate::overwrite, stream);
        weights.down.backward_weight(gradients, matrix(d.residual), matrix(layer.activated), stream);
        TensorView d_up = matrix(layer.up);
        if (!gated(config)) {
            d_up = matrix(d.up);
            kernels::gelu_backward(d_up, matrix(d.activated), matrix(layer.up), stream);
        } else {
            TensorView const d_gate = matrix(layer.gate);
            kernels::gated_backward(d_gate, d_up, matrix(d.activated), matrix(layer.gate), matrix(layer.up),
                                    gate_function(config), stream);
            weights.gate.backward_weight(gradients, d_gate, matrix(layer.mlp_normed), stream);
        }
        weights.up.backward_weight(gradients, d_up, matrix(layer.mlp_normed), stream);
        weights.up.backward_input(matrix(d.normed), d_up, Accumulate::overwrite, stream);
        if (gated(config)) weights.gate.backward_input(matrix(d.normed), matrix(layer.gate), Accumulate::add, stream);
        TensorView const in = config.parallel_residual ? buffers.residual(index) : matrix(layer.middle);
        norm(d_branch, matrix(d.normed), in, layer.mlp_mean, layer.mlp_rstd, weights.mlp_norm);
    }

    // d_branch = gradient of the attention branch's input
    void attention(TensorView d_branch, std::int64_t index, LayerWeights const& weights) const {
        LayerActivations const& layer = buffers.layer(index);
        BackwardBuffers const& d = *buffers.backward;
        weights.output.backward_input(matrix(d.attended), matrix(d.residual), Accumulate::overwrite, stream);
        weights.output.backward_weight(gradients, matrix(d.residual), matrix(layer.attended), stream);
        kernels::attention_backward(used(d.query), used(d.key), used(d.value), used(d.attended), used(layer.attended),
                                    used(layer.log_sum_exp), used(layer.query), used(layer.key), used(layer.value),
                                    batch.segments, attention_scale(config), stream);
        kernels::RotaryOptions const rotary = rotary_options(config);
        kernels::rotary_backward(used(d.query), used(buffers.positions), rotary, stream);
        kernels::rotary_backward(used(d.key), used(buffers.positions), rotary, stream);
        weights.query.backward_weight(gradients, matrix(d.query), matrix(layer.normed), stream);
        weights.key.backward_weight(gradients, matrix(d.key), matrix(layer.normed), stream);
        weights.value.backward_weight(gradients, matrix(d.value), matrix(layer.normed), stream);
        weights.query.backward_input(matrix(d.normed), matrix(d.query), Accumulate::overwrite, stream);
        weights.key.backward_input(matrix(d.normed), matrix(d.key), Accumulate::add, stream);
        weights.value.backward_input(matrix(d.normed), matrix(d.value), Accumulate::add, stream);
        norm(d_branch, matrix(d.normed), buffers.residual(index), layer.mean, layer.rstd, weights.attention_norm);
    }

    void layer(std::int64_t index, LayerWeights const& weights) const {
        BackwardBuffers const& d = *buffers.backward;
        TensorView const d_mlp = matrix(config.parallel_residual ? d.second_branch : d.branch);
        mlp(d_mlp, index, weights);
        if (!config.parallel_residual) kernels::add_in_place(matrix(d.residual), d_mlp, stream);
        attention(matrix(d.branch), index, weights);
        if (config.parallel_residual) kernels::add_in_place(matrix(d.residual), d_mlp, stream);
        kernels::add_in_place(matrix(d.residual), matrix(d.branch), stream);
    }

    // Rows first .. first + count - 1 of those with a target; `loss` goes on in row order.
    void head_chunk(double& loss, TensorView d_hidden, std::int64_t first, std::int64_t count,
                    Linear const& output) const {
        HeadBuffers& head = *buffers.head;
        auto const copy = [&](Tensor const& to, auto const& from) {
            buffers.device.copy_to_device(to.view().raw(), from.data() + first,
                                          static_cast<std::size_t>(count) * sizeof(from[0]), stream);
        };
        copy(head.rows, head.host_rows);
        copy(head.targets, head.host_targets);
        copy(head.weights, head.host_weights);
        TensorView const hidden = head.hidden.first(count);
        TensorView const logits = head.logits.first(count);
        TensorView const log_sum_exp = head.log_sum_exp.first(count);
        kernels::gather_rows(hidden, matrix(buffers.hidden), head.rows.first(count), stream);
        output.forward(logits, hidden, stream);
        kernels::log_sum_exp(log_sum_exp, logits, stream);
        kernels::target_log_probability(head.log_probability.first(count), logits, log_sum_exp,
                                        head.targets.first(count), stream);
        buffers.device.copy_to_host(head.host_log_probability.data(), head.log_probability.view().raw(),
                                    static_cast<std::size_t>(count) * sizeof(float), stream);
        kernels::cross_entropy_backward(logits, logits, log_sum_exp, head.targets.first(count),
                                        head.weights.first(count), stream);
        output.backward_weight(gradients, logits, hidden, stream);
        output.backward_input(head.d_hidden.first(count), logits, Accumulate::overwrite, stream);
        kernels::scatter_rows(d_hidden, head.d_hidden.first(count), head.rows.first(count), stream);
        stream.synchronize();
        for (std::int64_t i = 0; i < count; ++i)
            loss -= static_cast<double>(head.host_weights[static_cast<std::size_t>(first + i)]) *
                    static_cast<double>(head.host_log_probability[static_cast<std::size_t>(i)]);
    }
};

// The rows that have a target, in order.
void collect_targets(HeadBuffers& head, std::span<std::int32_t const> targets, std::span<float const> weights,
                     std::int64_t vocabulary) {
    head.host_rows.clear();
    head.host_targets.clear();
    head.host_weights.clear();
    for (std::size_t row = 0; row < weights.size(); ++row) {
        if (weights[row] == 0) continue;
        SELVAGE_CHECK(0 <= targets[row] && targets[row] < vocabulary, "target {} of {}", targets[row], vocabulary);
        head.host_rows.push_back(static_cast<std::int32_t>(row));
        head.host_targets.push_back(targets[row]);
        head.host_weights.push_back(weights[row]);
    }
}

}  // namespace

// Keys and values are kept with the activations, so the pages are not read again.
double Model::backward(TokenBatch const& batch, std::span<std::int32_t const> targets, std::span<float const> weights,
                       KvCache& /*cache*/, Workspace& workspace, TensorView gradients) {
    Workspace::Buffers& buffers = workspace.buffers();
    SELVAGE_CHECK(buffers.head.has_value(), "workspace without activations");
    SELVAGE_CHECK(static_cast<std::int64_t>(batch.tokens.size()) == buffers.batch_rows &&
                      targets.size() == batch.tokens.size() && weights.size() == batch.tokens.size(),
                  "{} targets and {} weights for {} rows, {} of them in the last forward", targets.size(),
                  weights.size(), batch.tokens.size(), buffers.batch_rows);
    for (kernels::AttentionSegment const& segment : batch.segments)
        SELVAGE_CHECK(segment.first_position == 0, "segment starts at position {}", segment.first_position);
    HeadBuffers& head = *buffers.head;
    collect_targets(head, targets, weights, config_.vocabulary);
    auto const target_rows = static_cast<std::int64_t>(head.host_rows.size());
    if (target_rows == 0) return 0;
    SELVAGE_CHECK(std::exchange(buffers.activations_valid, false), "backward without a forward before it");

    BackwardPass const pass{config_, buffers, batch, gradients, stream_};
    BackwardBuffers const& d = *buffers.backward;
    TensorView const d_hidden = pass.matrix(d.normed);
    kernels::fill(d_hidden, 0, stream_);
    double loss = 0;
    for (std::int64_t first = 0; first < target_rows; first += head.chunk_rows)
        pass.head_chunk(loss, d_hidden, first, std::min(head.chunk_rows, target_rows - first), weights_->output);
    pass.norm(pass.matrix(d.residual), d_hidden, buffers.residual(config_.layers), buffers.mean, buffers.rstd,
              weights_->final_norm);
    for (std::int64_t index = config_.layers - 1; index >= 0; --index)
        pass.layer(index, weights_->layers[static_cast<std::size_t>(index)]);
    kernels::embedding_backward(weights_->embedding.gradient(gradients), pass.matrix(d.residual),
                                pass.used(buffers.tokens), stream_);
    return loss;
}

}  // namespace selvage

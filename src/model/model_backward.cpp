// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "model/forward_pass.h"
#include "model/weight_source.h"

namespace selvage {
namespace {

using kernels::Accumulate;

// The steps of one backward pass, last operation first. d.residual (d: buffers.backward) is the gradient of the
// residual stream at the point reached, own rows. Gradients of what all ranks of the tensor axis hold are sums over own
// rows; the optimizer adds them up over the ranks.
struct BackwardPass {
    ModelConfig const& config;  // of this rank
    TensorAxis& axis;
    Workspace::Buffers& buffers;
    TokenBatch const& batch;
    TensorView gradients;
    Accumulate accumulate;  // of weights of products; the other gradients are added
    Stream& stream;

    TensorView matrix(Tensor const& tensor) const { return buffers.matrix(tensor); }
    TensorView used(Tensor const& tensor) const { return buffers.used(tensor); }

    // The gradient of a branch's output, which is d.residual or comes from that by a norm, as products read it: all
    // rows, in their type; and where a norm has to leave its own rows of that.
    Tensor const& operand() const { return buffers.backward->operand; }
    TensorView operand_rows() const { return operand().view().empty() ? TensorView{} : buffers.own_of_all(operand()); }
    TensorView branch_operand() const {
        BackwardBuffers const& d = *buffers.backward;
        if (!operand().view().empty()) return matrix(operand());
        return matrix(config.post_norm ? d.branch : d.residual);
    }
    // Where a norm leaves d.residual for the branch that comes next.
    TensorView residual_copy() const { return config.post_norm ? TensorView{} : operand_rows(); }
    void gather_residual_copy() const {
        if (!config.post_norm) gather(operand());
    }
    // d.normed, which is this rank's part of a sum over them, as that sum.
    TensorView sum_of_normed() const {
        BackwardBuffers const& d = *buffers.backward;
        if (axis.size() == 1) return matrix(d.normed);
        TensorView const sum = buffers.own(d.own_normed);
        axis.sum(sum, matrix(d.normed), buffers.split, stream);
        return sum;
    }

    // The gradients of weights that read the same `in`.
    using OfWeight = std::pair<Linear const&, TensorView>;
    void weight_gradients(std::initializer_list<OfWeight> linears, TensorView in, Accumulate how) const {
        std::array<kernels::WeightGradient, 3> parts;
        std::size_t count = 0;
        for (auto const& [linear, d_out] : linears) parts[count++] = linear.gradient(gradients, d_out);
        kernels::linear_backward_weights(std::span(parts).first(count), in, how, stream);
    }

    // The same of `linear`, cut by its inputs, which makes a branch's output.
    void weight_gradient_of_parts(Linear const& linear, TensorView in) const {
        kernels::WeightGradient part = linear.gradient(gradients, branch_operand());
        TensorView const d_bias = axis.size() == 1 ? TensorView{} : std::exchange(part.d_bias, TensorView{});
        kernels::linear_backward_weights({&part, 1}, in, accumulate, stream);
        if (d_bias.empty()) return;
        if (accumulate == Accumulate::overwrite) kernels::fill(d_bias, 0, stream);
        kernels::add_column_sums(d_bias, operand_rows(), stream);
    }

    // d_in (+)= the gradient of the norm's input, own rows; `copy` as in kernels/norm.h.
    void norm(TensorView d_in, TensorView copy, Accumulate to_input, TensorView d_out, TensorView in,
              Tensor const& mean, Tensor const& rstd, Norm const& norm) const {
        TensorView const d_weight = norm.weight.gradient(gradients);
        if (config.norm == NormKind::rmsnorm)
            kernels::rmsnorm_backward(d_in, copy, to_input, d_weight, d_out, in, buffers.own(rstd),
                                      norm_weight(config, norm.weight.value), stream);
        else
            kernels::layernorm_backward(d_in, copy, to_input, d_weight, norm.bias.gradient(gradients), d_out, in,
                                        buffers.own(mean), buffers.own(rstd), norm.weight.value, stream);
    }

    // Adds the gradient of a branch's input to d.residual.
    void norm_of_branch(TensorView copy, TensorView in, Tensor const& mean, Tensor const& rstd,
                        Norm const& weights) const {
        norm(buffers.own(buffers.backward->residual), copy, Accumulate::add, sum_of_normed(), in, mean, rstd, weights);
    }

    // From d.residual to what branch_operand() gives.
    void post_norm(PostNorm const& kept, Norm const& weights) const {
        if (!config.post_norm) return;
        norm(buffers.own(buffers.backward->branch), operand_rows(), Accumulate::overwrite,
             buffers.own(buffers.backward->residual), buffers.own(kept.in), kept.mean, kept.rstd, weights);
        gather(operand());
    }

    // The gradient of what the norm of heads read, if there is one: in the place of what it made, which nothing reads
    // any more.
    TensorView head_norm(Tensor const& made, Tensor const& d_made, HeadNorm const& kept, Weight const& weight) const {
        if (!config.query_key_norm) return matrix(d_made);
        TensorView const d_in = used(made);
        bool const is_float = d_in.dtype() == DType::f32;
        kernels::rmsnorm_backward(is_float ? d_in : TensorView{}, is_float ? TensorView{} : d_in, Accumulate::overwrite,
                                  weight.gradient(gradients), used(d_made), used(kept.in), used(kept.rstd),
                                  norm_weight(config, weight.value), stream);
        return matrix(made);
    }

    // Adds the gradient of the MLP branch's input to d.residual; where the residual is parallel it goes to
    // d.second_branch, as d.residual is still read.
    void mlp(std::int64_t index, LayerWeights const& weights) const {
        MlpActivations const& kept = buffers.mlp(index);
        BackwardBuffers const& d = *buffers.backward;
        post_norm(kept.post_norm, weights.mlp_post_norm);
        weights.down.backward_input(matrix(d.activated), branch_operand(), Accumulate::overwrite, stream);
        weight_gradient_of_parts(weights.down, matrix(kept.activated));
        TensorView d_up = matrix(kept.up);
        if (!gated(config)) {
            d_up = matrix(d.up);
            kernels::gelu_backward(d_up, matrix(d.activated), matrix(kept.up), gelu_form(config), stream);
            weight_gradients({{weights.up, d_up}}, matrix(kept.normed), accumulate);
        } else {
            TensorView const d_gate = matrix(kept.gate);
            kernels::gated_backward(d_gate, d_up, matrix(d.activated), matrix(kept.gate), matrix(kept.up),
                                    gate_function(config), stream);
            weight_gradients({{weights.up, d_up}, {weights.gate, d_gate}}, matrix(kept.normed), accumulate);
        }
        weights.up.backward_input(matrix(d.normed), d_up, Accumulate::overwrite, stream);
        if (gated(config)) weights.gate.backward_input(matrix(d.normed), matrix(kept.gate), Accumulate::add, stream);
        if (config.parallel_residual)
            return norm(buffers.own(d.second_branch), {}, Accumulate::overwrite, sum_of_normed(),
                        buffers.residual(index), kept.mean, kept.rstd, weights.mlp_norm);
        norm_of_branch(residual_copy(), buffers.own(kept.middle), kept.mean, kept.rstd, weights.mlp_norm);
        gather_residual_copy();
    }

    // Adds the gradient of the attention branch's input to d.residual.
    void attention(std::int64_t index, LayerWeights const& weights) const {
        AttentionActivations const& kept = buffers.attention(index);
        BackwardBuffers const& d = *buffers.backward;
        post_norm(buffers.mlp(index).attention_post_norm, weights.attention_post_norm);
        weights.output.backward_input(matrix(d.attended), branch_operand(), Accumulate::overwrite, stream);
        weight_gradient_of_parts(weights.output, matrix(kept.attended));
        kernels::attention_backward(used(d.query), used(d.key), used(d.value), used(d.attended), used(kept.attended),
                                    used(kept.log_sum_exp), used(kept.query), used(kept.key), used(kept.value),
                                    batch.segments, attention_options(config, index), stream);
        kernels::RotaryOptions const rotary = rotary_options(config);
        kernels::rotary_backward(used(d.query), buffers.positions(), rotary, stream);
        kernels::rotary_backward(used(d.key), buffers.positions(), rotary, stream);
        TensorView const d_query = head_norm(kept.query, d.query, kept.query_norm, weights.query_norm);
        TensorView const d_key = head_norm(kept.key, d.key, kept.key_norm, weights.key_norm);
        weight_gradients({{weights.query, d_query}, {weights.key, d_key}, {weights.value, matrix(d.value)}},
                         matrix(kept.normed), accumulate);
        weights.query.backward_input(matrix(d.normed), d_query, Accumulate::overwrite, stream);
        weights.key.backward_input(matrix(d.normed), d_key, Accumulate::add, stream);
        weights.value.backward_input(matrix(d.normed), matrix(d.value), Accumulate::add, stream);
        if (config.parallel_residual)
            kernels::add_in_place(buffers.own(d.residual), buffers.own(d.second_branch), stream);
        // Behind the first layer is the embedding, which reads it in f32.
        bool const for_embedding = index == 0 && axis.size() > 1;
        norm_of_branch(for_embedding ? buffers.own_of_all(buffers.partial) : residual_copy(), buffers.residual(index),
                       kept.mean, kept.rstd, weights.attention_norm);
        for_embedding ? gather(buffers.partial) : gather_residual_copy();
    }

    void gather(Tensor const& rows) const {
        if (!rows.view().empty()) axis.gather(matrix(rows), buffers.split, stream);
    }

    void embedding(Weight const& table) const {
        bool const split = axis.size() > 1;
        TensorView const d_out = matrix(split ? buffers.partial : buffers.backward->residual);
        if (config.embedding_scale != 1)
            kernels::scale_in_place(d_out, static_cast<float>(config.embedding_scale), stream);
        kernels::embedding_backward(table.gradient(gradients), d_out, split ? buffers.local_tokens() : buffers.tokens(),
                                    stream);
    }

    // Rows first .. first + count - 1 of those with a target; `loss` goes on in row order.
    void head_chunk(double& loss, TensorView d_hidden, std::int64_t first, std::int64_t count, Linear const& output,
                    Vocabulary& vocabulary) const {
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
        TensorView const d_logits = head.d_logits.view().empty() ? logits : head.d_logits.first(count);
        TensorView const log_sum_exp = head.log_sum_exp.first(count);
        kernels::gather_rows(hidden, matrix(buffers.hidden), head.rows.first(count), stream);
        output.forward(logits, hidden, stream);
        finish_logits(config, logits, stream);
        vocabulary.log_sum_exp(log_sum_exp, logits, stream);
        vocabulary.target_log_probability(head.log_probability.first(count), logits, log_sum_exp,
                                          head.targets.first(count), stream);
        vocabulary.cross_entropy_backward(d_logits, logits, log_sum_exp, head.targets.first(count),
                                          head.weights.first(count), stream);
        if (config.logit_softcap != 0)
            kernels::softcap_backward(d_logits, logits, static_cast<float>(config.logit_softcap), stream);
        weight_gradients({{output, d_logits}}, hidden, first == 0 ? accumulate : Accumulate::add);
        output.backward_input(head.d_hidden.first(count), d_logits, Accumulate::overwrite, stream);
        kernels::scatter_rows(d_hidden, head.d_hidden.first(count), head.rows.first(count), stream);
        // Last, as it waits for the stream.
        buffers.device.copy_to_host(head.host_log_probability.data(), head.log_probability.view().raw(),
                                    static_cast<std::size_t>(count) * sizeof(float), stream);
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

// Zeros for the gradients that a backward pass adds to whatever is asked: all but the weights of products.
void clear_added_gradients(ParameterSet const& parameters, std::vector<Linear*> const& matrices, TensorView gradients,
                           Stream& stream) {
    for (Parameter const& parameter : parameters.parameters()) {
        bool const written = std::any_of(matrices.begin(), matrices.end(), [&](Linear const* linear) {
            return linear->weight.parameter == &parameter || linear->bias.parameter == &parameter;
        });
        if (!written) kernels::fill(ParameterSet::slice(gradients, parameter), 0, stream);
    }
}

}  // namespace

double Model::backward(TokenBatch const& batch, std::span<std::int32_t const> targets, std::span<float const> weights,
                       KvCache& cache, Workspace& workspace, TensorView gradients, Accumulate accumulate,
                       GradientsFinal const& is_final) {
    // Parameters lie in the order of the forward pass.
    auto const final_from = [&](std::int64_t first) {
        if (is_final) is_final(first);
    };
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
    if (target_rows == 0) {
        if (accumulate == Accumulate::overwrite) kernels::fill(gradients, 0, stream_);
        final_from(0);
        return 0;
    }
    SELVAGE_CHECK(std::exchange(buffers.activations_valid, false), "backward without a forward before it");
    if (accumulate == Accumulate::overwrite)
        clear_added_gradients(parameters_, weights_->all().matrices(), gradients, stream_);

    BackwardPass const pass{local_, *tensor_axis_, buffers, batch, gradients, accumulate, stream_};
    ForwardPass const again{local_, *tensor_axis_, buffers, stream_};
    BackwardBuffers const& d = *buffers.backward;
    TensorView const d_hidden = pass.matrix(d.normed);
    kernels::fill(d_hidden, 0, stream_);
    double loss = 0;
    for (std::int64_t first = 0; first < target_rows; first += head.chunk_rows)
        pass.head_chunk(loss, d_hidden, first, std::min(head.chunk_rows, target_rows - first), weights_->output(),
                        vocabulary_);
    pass.norm(buffers.own(d.residual), pass.residual_copy(), Accumulate::overwrite, pass.sum_of_normed(),
              buffers.residual(config_.layers), buffers.mean, buffers.rstd, weights_->all().final_norm);
    pass.gather_residual_copy();
    final_from(weights_->all().final_norm.weight.parameter->offset);
    for (std::int64_t index = config_.layers - 1; index >= 0; --index) {
        LayerWeights const& layer = weights_->layer(index);
        if (buffers.recompute == Recompute::block) {
            again.attention_inner(index, layer, cache.layer(index), again.kept_entering(index));
            again.attention_output(index, layer);
            again.mlp_inner(index, layer);
            if (config_.post_norm) again.mlp_output(index, layer);
        }
        pass.mlp(index, layer);
        final_from(layer.mlp_norm.weight.parameter->offset);
        if (buffers.recompute == Recompute::attention)
            again.attention_inner(index, layer, cache.layer(index), again.kept_entering(index));
        pass.attention(index, layer);
        final_from(layer.attention_norm.weight.parameter->offset);
    }
    pass.embedding(weights_->all().embedding);
    final_from(0);
    return loss;
}

}  // namespace selvage

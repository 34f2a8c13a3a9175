// SPDX-License-Identifier: Apache-2.0
#pragma once
// The steps of a forward pass; the backward pass takes them again where activations were not kept.
#include "kernels/activation.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "model/kernel_options.h"
#include "model/model_weights.h"
#include "model/workspace.h"

namespace selvage {

// What enters a norm: in, or in + branch, which is kept as sum.
struct Entering {
    TensorView sum, in, branch;
};

struct ForwardPass {
    ModelConfig const& config;  // of this rank
    TensorAxis& axis;
    Workspace::Buffers& buffers;
    Stream& stream;

    TensorView matrix(Tensor const& tensor) const { return buffers.matrix(tensor); }
    TensorView used(Tensor const& tensor) const { return buffers.used(tensor); }

    float epsilon() const { return static_cast<float>(config.norm_epsilon); }

    // Of own rows.
    void norm_rows(TensorView out, Tensor const& mean, Tensor const& rstd, Entering const& x, Norm const& norm) const {
        if (config.norm == NormKind::rmsnorm)
            kernels::rmsnorm_forward(out, buffers.own(rstd), x.sum, x.in, x.branch,
                                     norm_weight(config, norm.weight.value), epsilon(), stream);
        else
            kernels::layernorm_forward(out, buffers.own(mean), buffers.own(rstd), x.sum, x.in, x.branch,
                                       norm.weight.value, norm.bias.value, epsilon(), stream);
    }
    // The same; then all rows are in `out`.
    void norm(Tensor const& out, Tensor const& mean, Tensor const& rstd, Entering const& x, Norm const& norm) const {
        norm_rows(buffers.own_of_all(out), mean, rstd, x, norm);
        axis.gather(matrix(out), buffers.split, stream);
    }

    // One of query and key, for each head of all rows; where the model has such a norm, else the product went to `out`.
    void head_norm(Tensor const& out, HeadNorm const& kept, Weight const& weight) const {
        if (config.query_key_norm)
            kernels::rmsnorm_forward(used(out), used(kept.rstd), {}, used(kept.in), {},
                                     norm_weight(config, weight.value), epsilon(), stream);
    }

    // out (own rows) = what `linear`, cut by its inputs, makes of all ranks' parts of them. The bias comes last.
    void sum_of_parts(TensorView out, Linear const& linear, TensorView in) const {
        if (axis.size() == 1) return linear.forward(out, in, stream);
        linear.forward_without_bias(matrix(buffers.partial), in, stream);
        axis.sum(out, matrix(buffers.partial), buffers.split, stream);
        if (linear.bias.parameter != nullptr) kernels::add_to_rows(out, linear.bias.value, stream);
    }

    // buffers.branch = a branch's output, which `linear` makes of `in`; normed where the model has such a norm.
    void branch(Linear const& linear, TensorView in, PostNorm const& kept, Norm const& norm) const {
        TensorView const out = buffers.own(buffers.branch);
        if (!config.post_norm) return sum_of_parts(out, linear, in);
        sum_of_parts(buffers.own(kept.in), linear, in);
        norm_rows(out, kept.mean, kept.rstd, {{}, buffers.own(kept.in), {}}, norm);
    }

    // What enters `layer` (the number of layers: the final norm): the embedding, or what the layer before left.
    // In inference the sum takes the place of that layer's input, which nothing reads any more.
    Entering entering(std::int64_t layer) const {
        if (layer == 0) return {{}, buffers.residual(0), {}};
        return {buffers.residual(layer), buffers.own(buffers.mlp(layer - 1).middle), buffers.own(buffers.branch)};
    }

    // The same after a forward pass, for layers.
    Entering kept_entering(std::int64_t layer) const { return {{}, buffers.residual(layer), {}}; }

    // From the norm to what the heads have read.
    void attention_inner(std::int64_t index, LayerWeights const& weights, kernels::KvPages pages,
                         Entering const& entering) const {
        AttentionActivations const& kept = buffers.attention(index);
        norm(kept.normed, kept.mean, kept.rstd, entering, weights.attention_norm);
        weights.query.forward(matrix(kept.projected_query()), matrix(kept.normed), stream);
        weights.key.forward(matrix(kept.projected_key()), matrix(kept.normed), stream);
        weights.value.forward(matrix(kept.value), matrix(kept.normed), stream);
        head_norm(kept.query, kept.query_norm, weights.query_norm);
        head_norm(kept.key, kept.key_norm, weights.key_norm);
        kernels::RotaryOptions const rotary = rotary_options(config);
        kernels::rotary_forward(used(kept.query), buffers.positions(), rotary, stream);
        kernels::rotary_forward(used(kept.key), buffers.positions(), rotary, stream);
        kernels::store_planned_kv(pages, used(kept.key), used(kept.value), buffers.plan, stream);
        pages.new_keys = used(kept.key);
        pages.new_values = used(kept.value);
        TensorView const log_sum_exp = buffers.backward ? used(kept.log_sum_exp) : TensorView{};
        kernels::planned_attention_forward(used(kept.attended), log_sum_exp, used(kept.query), pages, buffers.plan,
                                           attention_options(config, index), stream);
    }

    // branch = the attention's output; where the residual is parallel middle = in + that, as the MLP's norm does not
    // add it.
    void attention_output(std::int64_t index, LayerWeights const& weights) const {
        MlpActivations const& mlp = buffers.mlp(index);
        TensorView const attended = matrix(buffers.attention(index).attended);
        if (!config.parallel_residual)
            return branch(weights.output, attended, mlp.attention_post_norm, weights.attention_post_norm);
        sum_of_parts(buffers.own(mlp.middle), weights.output, attended);
        kernels::add_in_place(buffers.own(mlp.middle), buffers.residual(index), stream);
    }

    // middle = in + attention's branch; activated = inner part of MLP(norm(middle)), or of the layer's own input where
    // the residual is parallel
    void mlp_inner(std::int64_t index, LayerWeights const& weights) const {
        MlpActivations const& kept = buffers.mlp(index);
        TensorView const in = buffers.residual(index);
        Entering const entering = config.parallel_residual
                                      ? Entering{{}, in, {}}
                                      : Entering{buffers.own(kept.middle), in, buffers.own(buffers.branch)};
        norm(kept.normed, kept.mean, kept.rstd, entering, weights.mlp_norm);
        weights.up.forward(matrix(kept.up), matrix(kept.normed), stream);
        if (!gated(config))
            return kernels::gelu_forward(matrix(kept.activated), matrix(kept.up), gelu_form(config), stream);
        weights.gate.forward(matrix(kept.gate), matrix(kept.normed), stream);
        kernels::gated_forward(matrix(kept.activated), matrix(kept.gate), matrix(kept.up), gate_function(config),
                               stream);
    }

    // branch = the MLP's output
    void mlp_output(std::int64_t index, LayerWeights const& weights) const {
        MlpActivations const& kept = buffers.mlp(index);
        branch(weights.down, matrix(kept.activated), kept.post_norm, weights.mlp_post_norm);
    }

    void embedding(Weight const& table) const {
        if (axis.size() == 1) {
            kernels::embedding_forward(buffers.residual(0), table.value, buffers.tokens(), stream);
        } else {
            kernels::embedding_forward(matrix(buffers.partial), table.value, buffers.local_tokens(), stream);
            axis.sum(buffers.residual(0), matrix(buffers.partial), buffers.split, stream);
        }
        if (config.embedding_scale != 1)
            kernels::scale_in_place(buffers.residual(0), static_cast<float>(config.embedding_scale), stream);
    }
};

}  // namespace selvage

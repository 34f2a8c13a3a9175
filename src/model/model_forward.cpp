// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "model/kernel_options.h"
#include "model/model_weights.h"
#include "model/workspace.h"

namespace selvage {
namespace {

struct ForwardPass {
    ModelConfig const& config;
    Workspace::Buffers& buffers;
    TokenBatch const& batch;
    Stream& stream;

    TensorView matrix(Tensor const& tensor) const { return buffers.matrix(tensor); }
    TensorView used(Tensor const& tensor) const { return buffers.used(tensor); }

    void norm(TensorView out, Tensor const& mean, Tensor const& rstd, TensorView in, Norm const& norm) const {
        auto const epsilon = static_cast<float>(config.norm_epsilon);
        if (config.norm == NormKind::rmsnorm)
            kernels::rmsnorm_forward(out, used(rstd), {}, in, {}, norm.weight.value, epsilon, stream);
        else
            kernels::layernorm_forward(out, used(mean), used(rstd), {}, in, {}, norm.weight.value, norm.bias.value,
                                       epsilon, stream);
    }

    // middle = in + attention(norm(in))
    void attention(std::int64_t index, LayerWeights const& weights, kernels::KvPages pages) const {
        LayerActivations const& layer = buffers.layer(index);
        TensorView const in = buffers.residual(index);
        norm(matrix(layer.normed), layer.mean, layer.rstd, in, weights.attention_norm);
        weights.query.forward(matrix(layer.query), matrix(layer.normed), stream);
        weights.key.forward(matrix(layer.key), matrix(layer.normed), stream);
        weights.value.forward(matrix(layer.value), matrix(layer.normed), stream);
        kernels::RotaryOptions const rotary = rotary_options(config);
        kernels::rotary_forward(used(layer.query), used(buffers.positions), rotary, stream);
        kernels::rotary_forward(used(layer.key), used(buffers.positions), rotary, stream);
        kernels::store_kv(pages, used(layer.key), used(layer.value), batch.segments, stream);
        kernels::attention_forward(used(layer.attended), used(layer.log_sum_exp), used(layer.query), pages,
                                   batch.segments, attention_scale(config), stream);
        weights.output.forward(matrix(layer.middle), matrix(layer.attended), stream);
        kernels::add_in_place(matrix(layer.middle), in, stream);
    }

    // out = middle + MLP(norm(middle)), or of the layer's own input where the residual is parallel
    void mlp(std::int64_t index, LayerWeights const& weights) const {
        LayerActivations const& layer = buffers.layer(index);
        TensorView const in = config.parallel_residual ? buffers.residual(index) : matrix(layer.middle);
        norm(matrix(layer.mlp_normed), layer.mlp_mean, layer.mlp_rstd, in, weights.mlp_norm);
        weights.up.forward(matrix(layer.up), matrix(layer.mlp_normed), stream);
        if (!gated(config)) {
            kernels::gelu_forward(matrix(layer.activated), matrix(layer.up), stream);
        } else {
            weights.gate.forward(matrix(layer.gate), matrix(layer.mlp_normed), stream);
            kernels::gated_forward(matrix(layer.activated), matrix(layer.gate), matrix(layer.up), gate_function(config),
                                   stream);
        }
        // In inference `out` is the buffer of the layer's input, which nothing reads any more.
        TensorView const out = buffers.residual(index + 1);
        weights.down.forward(out, matrix(layer.activated), stream);
        kernels::add_in_place(out, matrix(layer.middle), stream);
    }
};

}  // namespace

TensorView Model::forward(TokenBatch const& batch, KvCache& cache, Workspace& workspace) {
    Workspace::Buffers& buffers = workspace.buffers();
    buffers.start(batch, config_, stream_);
    TensorView const hidden = buffers.hidden.first(buffers.batch_rows);
    if (buffers.batch_rows == 0) return hidden;
    ForwardPass const pass{config_, buffers, batch, stream_};
    kernels::embedding_forward(buffers.residual(0), weights_->embedding.value, pass.used(buffers.tokens), stream_);
    for (std::int64_t index = 0; index < config_.layers; ++index) {
        LayerWeights const& weights = weights_->layers[static_cast<std::size_t>(index)];
        pass.attention(index, weights, cache.layer(index));
        pass.mlp(index, weights);
    }
    pass.norm(hidden, buffers.mean, buffers.rstd, buffers.residual(config_.layers), weights_->final_norm);
    buffers.activations_valid = buffers.backward.has_value();
    return hidden;
}

void Model::logits(TensorView out, TensorView hidden) { weights_->output.forward(out, hidden, stream_); }

}  // namespace selvage

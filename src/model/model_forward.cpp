// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "model/kernel_options.h"
#include "model/model_weights.h"
#include "model/workspace.h"

namespace selvage {
namespace {

// What enters a norm: in, or in + branch, which is kept as sum.
struct Entering {
    TensorView sum, in, branch;
};

struct ForwardPass {
    ModelConfig const& config;
    Workspace::Buffers& buffers;
    TokenBatch const& batch;
    Stream& stream;

    TensorView matrix(Tensor const& tensor) const { return buffers.matrix(tensor); }
    TensorView used(Tensor const& tensor) const { return buffers.used(tensor); }

    void norm(TensorView out, Tensor const& mean, Tensor const& rstd, Entering const& x, Norm const& norm) const {
        auto const epsilon = static_cast<float>(config.norm_epsilon);
        if (config.norm == NormKind::rmsnorm)
            kernels::rmsnorm_forward(out, used(rstd), x.sum, x.in, x.branch, norm.weight.value, epsilon, stream);
        else
            kernels::layernorm_forward(out, used(mean), used(rstd), x.sum, x.in, x.branch, norm.weight.value,
                                       norm.bias.value, epsilon, stream);
    }

    // What enters `layer` (the number of layers: the final norm): the embedding, or what the layer before left.
    // In inference the sum takes the place of that layer's input, which nothing reads any more.
    Entering entering(std::int64_t layer) const {
        if (layer == 0) return {{}, buffers.residual(0), {}};
        return {buffers.residual(layer), matrix(buffers.layer(layer - 1).middle), matrix(buffers.branch)};
    }

    // branch = attention(norm(in))
    void attention(std::int64_t index, LayerWeights const& weights, kernels::KvPages pages) const {
        LayerActivations const& layer = buffers.layer(index);
        norm(matrix(layer.normed), layer.mean, layer.rstd, entering(index), weights.attention_norm);
        weights.query.forward(matrix(layer.query), matrix(layer.normed), stream);
        weights.key.forward(matrix(layer.key), matrix(layer.normed), stream);
        weights.value.forward(matrix(layer.value), matrix(layer.normed), stream);
        kernels::RotaryOptions const rotary = rotary_options(config);
        kernels::rotary_forward(used(layer.query), used(buffers.positions), rotary, stream);
        kernels::rotary_forward(used(layer.key), used(buffers.positions), rotary, stream);
        kernels::store_kv(pages, used(layer.key), used(layer.value), batch.segments, stream);
        kernels::attention_forward(used(layer.attended), used(layer.log_sum_exp), used(layer.query), pages,
                                   batch.segments, attention_scale(config), stream);
        // A parallel residual adds it here, as the MLP's norm does not.
        weights.output.forward(matrix(config.parallel_residual ? layer.middle : buffers.branch), matrix(layer.attended),
                               stream);
        if (config.parallel_residual) kernels::add_in_place(matrix(layer.middle), buffers.residual(index), stream);
    }

    // middle = in + attention's branch; branch = MLP(norm(middle)), or of the layer's own input where the residual is
    // parallel
    void mlp(std::int64_t index, LayerWeights const& weights) const {
        LayerActivations const& layer = buffers.layer(index);
        TensorView const in = buffers.residual(index);
        Entering const entering = config.parallel_residual ? Entering{{}, in, {}}
                                                           : Entering{matrix(layer.middle), in, matrix(buffers.branch)};
        norm(matrix(layer.mlp_normed), layer.mlp_mean, layer.mlp_rstd, entering, weights.mlp_norm);
        weights.up.forward(matrix(layer.up), matrix(layer.mlp_normed), stream);
        if (!gated(config)) {
            kernels::gelu_forward(matrix(layer.activated), matrix(layer.up), stream);
        } else {
            weights.gate.forward(matrix(layer.gate), matrix(layer.mlp_normed), stream);
            kernels::gated_forward(matrix(layer.activated), matrix(layer.gate), matrix(layer.up), gate_function(config),
                                   stream);
        }
        weights.down.forward(matrix(buffers.branch), matrix(layer.activated), stream);
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
    pass.norm(hidden, buffers.mean, buffers.rstd, pass.entering(config_.layers), weights_->final_norm);
    buffers.activations_valid = buffers.backward.has_value();
    return hidden;
}

void Model::logits(TensorView out, TensorView hidden) { weights_->output.forward(out, hidden, stream_); }

}  // namespace selvage

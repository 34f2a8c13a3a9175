// SPDX-License-Identifier: Apache-2.0
#include "model/forward_pass.h"
#include "model/weight_source.h"

namespace selvage {

TensorView Model::forward(TokenBatch const& batch, KvCache& cache, Workspace& workspace) {
    workspace.buffers().start(batch, *this, cache.pages(), kernels::AttentionPlan::Sizes::exact, stream_);
    return run_layers(cache, workspace);
}

TensorView Model::run_layers(KvCache& cache, Workspace& workspace) {
    Workspace::Buffers& buffers = workspace.buffers();
    TensorView const hidden = buffers.hidden.first(buffers.batch_rows);
    if (buffers.batch_rows == 0) return hidden;
    ForwardPass const pass{local_, *tensor_axis_, buffers, stream_};
    pass.embedding(weights_->embedding());
    for (std::int64_t index = 0; index < config_.layers; ++index) {
        LayerWeights const& weights = weights_->layer(index);
        pass.attention_inner(index, weights, cache.layer(index), pass.entering(index));
        pass.attention_output(index, weights);
        pass.mlp_inner(index, weights);
        pass.mlp_output(index, weights);
    }
    pass.norm(buffers.hidden, buffers.mean, buffers.rstd, pass.entering(config_.layers), weights_->all().final_norm);
    buffers.activations_valid = buffers.backward.has_value();
    return hidden;
}

void Model::logits(TensorView out, TensorView hidden) {
    weights_->output().forward(out, hidden, stream_);
    finish_logits(config_, out, stream_);
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <algorithm>
#include <utility>

#include "model/model_weights.h"
#include "model/tensor_parts.h"

namespace selvage {

Model::Model(Arena& arena, ModelConfig config, ProcessGrid const& grid, std::int64_t pieces, DType compute)
    : config_((validate(config), std::move(config))),
      tensor_axis_(std::make_unique<TensorAxis>(arena, grid)),
      local_(config_on(config_, tensor_axis_->rank(), tensor_axis_->size())),
      compute_(compute),
      drawable_ids_(pieces == 0 ? config_.vocabulary : std::min(pieces, config_.vocabulary)),
      vocabulary_(grid.axis(Axis::tensor), tensor_parts(config_, tensor_axis_->size()).vocabulary, &arena),
      parameters_(arena, parameter_specs(config_, tensor_axis_->size()), tensor_axis_->rank(), tensor_axis_->size()),
      stream_(arena.stream()) {
    SELVAGE_CHECK(config_.vocabulary >= 1, "vocabulary not resolved");
    SELVAGE_CHECK(compute == DType::f32 || compute == DType::bf16, "products in {}", name_of(compute));
    SELVAGE_CHECK(grid.size(Axis::pipeline) == 1, "layers are not split");
    weights_ = std::make_unique<ModelWeights>(config_, parameters_);
}
Model::~Model() = default;

void Model::pack(Arena& arena, Use use) {
    if (use == Use::training && compute_ == DType::f32) return unpack();
    for (Linear* const linear : weights_->matrices()) {
        TensorView const weight = linear->weight.value;
        if (linear->packed && linear->packed->use() == use) {
            linear->packed->update(weight, stream_);
        } else {
            linear->packed.emplace(arena, weight, compute_, use);
            ++weight_moves_;
        }
    }
}

void Model::unpack() {
    for (Linear* const linear : weights_->matrices()) linear->packed.reset();
    ++weight_moves_;
}

}  // namespace selvage

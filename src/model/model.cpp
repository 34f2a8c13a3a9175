// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <algorithm>
#include <utility>

#include "model/gathered_weights.h"
#include "model/tensor_parts.h"

namespace selvage {

Model::Model(Arena& arena, ModelConfig config, ProcessGrid const& grid, std::int64_t pieces, DType compute,
             Parameters parameters)
    : config_((validate(config), std::move(config))),
      tensor_axis_(std::make_unique<TensorAxis>(arena, grid)),
      local_(config_on(config_, tensor_axis_->rank(), tensor_axis_->size())),
      compute_(compute),
      drawable_ids_(pieces == 0 ? config_.vocabulary : std::min(pieces, config_.vocabulary)),
      vocabulary_(grid.axis(Axis::tensor), tensor_parts(config_, tensor_axis_->size()).vocabulary, &arena),
      parameters_(arena, parameter_specs(config_, tensor_axis_->size()), tensor_axis_->rank(), tensor_axis_->size(),
                  parameters == Parameters::sharded ? grid.coordinate(Axis::data) : 0,
                  parameters == Parameters::sharded ? grid.size(Axis::data) : 1),
      stream_(arena.stream()) {
    SELVAGE_CHECK(config_.vocabulary >= 1, "vocabulary not resolved");
    SELVAGE_CHECK(compute == DType::f32 || compute == DType::bf16, "products in {}", name_of(compute));
    SELVAGE_CHECK(grid.size(Axis::pipeline) == 1, "layers are not split");
    if (parameters_.is_whole())
        weights_ = std::make_unique<ResidentWeights>(config_, parameters_, compute_, stream_);
    else
        weights_ = std::make_unique<GatheredWeights>(arena, config_, parameters_, compute_, grid.data());
}
Model::~Model() = default;

void Model::pack(Arena& arena, Use use) { weights_->pack(arena, use); }
void Model::unpack() { weights_->unpack(); }
void Model::finish_passes() { weights_->finish_passes(); }
double Model::gather_seconds() const { return weights_->seconds(); }
bool Model::only_launches() const {
    return weights_->only_launches() && (tensor_axis_->size() == 1 || tensor_axis_->only_streams());
}

}  // namespace selvage

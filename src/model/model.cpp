// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <algorithm>
#include <utility>

#include "model/model_weights.h"

namespace selvage {

Model::Model(Arena& arena, ModelConfig config, ProcessGrid const& grid, std::int64_t pieces)
    : config_((validate(config), std::move(config))),
      drawable_ids_(pieces == 0 ? config_.vocabulary : std::min(pieces, config_.vocabulary)),
      parameters_(arena, parameter_specs(config_)),
      stream_(arena.device().kind()) {
    SELVAGE_CHECK(config_.vocabulary >= 1, "vocabulary not resolved");
    SELVAGE_CHECK(grid.size(Axis::tensor) == 1 && grid.size(Axis::pipeline) == 1, "weights are not sharded");
    weights_ = std::make_unique<ModelWeights>(config_, parameters_);
}
Model::~Model() = default;

void Model::pack(Arena& arena) {
    for (Linear* const linear : weights_->matrices()) {
        if (linear->packed)
            linear->packed->update(linear->weight.value, stream_);
        else
            linear->packed.emplace(arena, linear->weight.value);
    }
}

void Model::unpack() {
    for (Linear* const linear : weights_->matrices()) linear->packed.reset();
}

}  // namespace selvage

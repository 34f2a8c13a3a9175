// SPDX-License-Identifier: Apache-2.0
#pragma once
// A training batch of several sequences on a SmallModel.
#include <vector>

#include "model/small_model.h"

namespace selvage::test {

struct TrainingBatch {
    TrainingBatch(SmallModel& small, std::vector<std::int64_t> const& lengths)
        : small_(small),
          tokens_(small.tokens(rows_of(lengths), 21)),
          targets_(small.tokens(rows_of(lengths), 22)),
          packed_(tokens_, lengths),
          cache_(small.arena, small.model, packed_.pages()),
          workspace_(small.arena, small.model, rows_of(lengths), Keep::activations),
          gradients_(small.gradients()) {
        Random const random(9, Purpose::test);
        for (std::uint32_t row = 0; row < tokens_.size(); ++row)
            weights_.push_back(row % 4 == 1 ? 0.0F : static_cast<float>(0.25 + random.uniform({0, row})));
    }

    double forward_and_backward(kernels::Accumulate accumulate = kernels::Accumulate::add,
                                Model::GradientsFinal const& is_final = {}) {
        small_.model.forward(packed_.batch(), cache_, workspace_);
        return small_.model.backward(packed_.batch(), targets_, weights_, cache_, workspace_, gradients_, accumulate,
                                     is_final);
    }
    void clear() { std::fill_n(gradients_.view().as<float>(), gradients_.view().elements(), 0.0F); }
    std::vector<float> gradients() const {
        float const* const data = gradients_.view().as<float>();
        return {data, data + gradients_.view().elements()};
    }
    std::vector<float>& weights() { return weights_; }
    Workspace& workspace() { return workspace_; }
    KvCache& cache() { return cache_; }
    PackedSequences const& packed() const { return packed_; }
    Tokens const& targets() const { return targets_; }
    TensorView gradient_view() const { return gradients_; }

  private:
    static std::int64_t rows_of(std::vector<std::int64_t> const& lengths) {
        std::int64_t rows = 0;
        for (std::int64_t const length : lengths) rows += length;
        return rows;
    }
    SmallModel& small_;
    Tokens tokens_, targets_;
    std::vector<float> weights_;
    PackedSequences packed_;
    KvCache cache_;
    Workspace workspace_;
    Tensor gradients_;
};

}  // namespace selvage::test

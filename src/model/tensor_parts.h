// SPDX-License-Identifier: Apache-2.0
#pragma once
// What each rank of the tensor axis holds of the model: heads, columns of the MLP, blocks of the vocabulary (Shoeybi et
// al. 2019). Norms and biases that are added to sums over the ranks are on all of them.
#include <vector>

#include "model/model_config.h"
#include "tensor/layout.h"

namespace selvage {

// By rank. Ranks that share a key-value head, as there are more of them than such heads, each hold all of it.
struct TensorParts {
    std::vector<Range> query, key;  // outputs of the projections
    std::vector<Range> ffn;
    std::vector<Range> vocabulary;  // see vocabulary_parts()
};

// Throws Error(bad_data) where the model does not fit `ranks` ranks: heads that do not divide, fewer columns of the MLP
// or ids than ranks.
TensorParts tensor_parts(ModelConfig const& config, int ranks);

// The model as one rank sees it: its heads, its columns, its part of the vocabulary.
ModelConfig config_on(ModelConfig const& config, int rank, int ranks);

}  // namespace selvage

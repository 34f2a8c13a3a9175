// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/operations.h"

namespace selvage::kernels::cuda {

Operations const& operations() {
    static Operations const all = [] {
        Operations filled;
        for (auto const fill :
             {fill_activation, fill_adamw, fill_attention, fill_attention_backward, fill_cross_entropy, fill_embedding,
              fill_gemm, fill_norm, fill_rotary, fill_sampling, fill_softmax, fill_vocabulary_shard})
            fill(filled);
        return filled;
    }();
    return all;
}

}  // namespace selvage::kernels::cuda

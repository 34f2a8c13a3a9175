// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/operations.h"

namespace selvage::kernels::cuda {

Operations const& operations() {
    static Operations const all = [] {
        Operations filled;
        for (auto const fill : {fill_attention, fill_attention_backward, fill_norm}) fill(filled);
        return filled;
    }();
    return all;
}

}  // namespace selvage::kernels::cuda

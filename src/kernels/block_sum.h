// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace selvage::kernels {

// The largest logit of a vocabulary block (kernels/softmax.h), and the sum over the block of exp(logit - max).
struct BlockSum {
    float max = 0;
    float sum = 0;
};

}  // namespace selvage::kernels

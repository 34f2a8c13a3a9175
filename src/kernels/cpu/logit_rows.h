// SPDX-License-Identifier: Apache-2.0
#pragma once
// What operations on rows of logits share.
#include "kernels/cpu/threads.h"
#include "tensor/tensor.h"

namespace selvage::kernels::cpu {

// work(row, first logit of the row) for each row of logits[rows, vocabulary].
template <class Work>
void over_rows(TensorView logits, Work const& work) {
    SELVAGE_CHECK(logits.rank() == 2, "logits of shape {}", logits.shape().text());
    std::int64_t const vocabulary = logits.dim(1);
    float* const x = logits.as<float>();
    parallel_for(logits.dim(0), 1, 4 * logits.elements(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) work(row, x + row * vocabulary);
    });
}

inline void check_targets(TensorView targets, TensorView logits) {
    SELVAGE_CHECK(targets.elements() == logits.dim(0), "{} targets for {} rows", targets.elements(), logits.dim(0));
    for (std::int64_t i = 0; i < targets.elements(); ++i) {
        std::int32_t const target = targets.as<std::int32_t>()[i];
        SELVAGE_CHECK(target >= 0 && target < logits.dim(1), "target {} in a vocabulary of {}", target, logits.dim(1));
    }
}

inline void check_ids(std::int64_t ids, TensorView logits) {
    SELVAGE_CHECK(0 < ids && ids <= logits.dim(1), "{} ids of a vocabulary of {}", ids, logits.dim(1));
}

}  // namespace selvage::kernels::cpu

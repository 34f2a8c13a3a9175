// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels::cpu {
namespace {

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

void check_targets(TensorView targets, TensorView logits) {
    SELVAGE_CHECK(targets.elements() == logits.dim(0), "{} targets for {} rows", targets.elements(), logits.dim(0));
    for (std::int64_t i = 0; i < targets.elements(); ++i) {
        std::int32_t const target = targets.as<std::int32_t>()[i];
        SELVAGE_CHECK(target >= 0 && target < logits.dim(1), "target {} in a vocabulary of {}", target, logits.dim(1));
    }
}

void check_ids(std::int64_t ids, TensorView logits) {
    SELVAGE_CHECK(0 < ids && ids <= logits.dim(1), "{} ids of a vocabulary of {}", ids, logits.dim(1));
}

}  // namespace

void log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream&) {
    float* const out = log_sum_exp.as<float>();
    over_rows(logits,
              [&](std::int64_t row, float const* x) { out[row] = kernel_table().row_log_sum_exp(x, logits.dim(1)); });
}

void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets, Stream&) {
    check_targets(targets, logits);
    float* const o = out.as<float>();
    float const* const total = log_sum_exp.as<float>();
    std::int32_t const* const target = targets.as<std::int32_t>();
    float const* const x = logits.as<float>();
    for (std::int64_t row = 0; row < logits.dim(0); ++row) o[row] = x[row * logits.dim(1) + target[row]] - total[row];
}

void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream&) {
    check_ids(ids, logits);
    std::int32_t* const o = out.as<std::int32_t>();
    over_rows(logits, [&](std::int64_t row, float const* x) {
        o[row] = static_cast<std::int32_t>(kernel_table().row_argmax(x, ids));
    });
}

void fill_softmax(Operations& operations) {
    operations.log_sum_exp = log_sum_exp;
    operations.target_log_probability = target_log_probability;
    operations.argmax = argmax;
}

}  // namespace selvage::kernels::cpu

// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include "kernels/cpu/logit_rows.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"

namespace selvage::kernels::cpu {
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

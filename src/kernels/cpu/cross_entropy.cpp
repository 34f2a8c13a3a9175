// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy.h"

#include "kernels/arguments.h"
#include "kernels/cpu/logit_rows.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels::cpu {

namespace {

// Of the ids from first_id on.
void backward_from(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                   TensorView weight, std::int64_t first_id) {
    check_same(d_logits, logits);
    SELVAGE_CHECK(logits.rank() == 2, "logits of shape {}", logits.shape().text());
    std::int64_t const rows = logits.dim(0);
    std::int64_t const n = logits.dim(1);
    SELVAGE_CHECK(targets.elements() == rows && log_sum_exp.elements() == rows && weight.elements() == rows,
                  "{} targets, {} sums and {} weights for {} rows", targets.elements(), log_sum_exp.elements(),
                  weight.elements(), rows);
    std::int32_t const* const target = targets.as<std::int32_t>();
    float const* const x = logits.as<float>();
    float const* const total = log_sum_exp.as<float>();
    float const* const w = weight.as<float>();
    with_element(d_logits, [&]<class E>() {
        E* const d = d_logits.as<E>();
        parallel_for(rows, 1, 4 * logits.elements(), [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row)
                kernel_table().of<E>().row_cross_entropy_backward(d + row * n, x + row * n, total[row],
                                                                  target[row] - first_id, w[row], n);
        });
    });
}

}  // namespace

void cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            TensorView weight, Stream&) {
    check_targets(targets, logits);
    backward_from(d_logits, logits, log_sum_exp, targets, weight, 0);
}

void shard_cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  TensorView weight, std::int64_t first_id, Stream&) {
    backward_from(d_logits, logits, log_sum_exp, targets, weight, first_id);
}

void fill_cross_entropy(Operations& operations) {
    operations.cross_entropy_backward = cross_entropy_backward;
    operations.shard_cross_entropy_backward = shard_cross_entropy_backward;
}

}  // namespace selvage::kernels::cpu

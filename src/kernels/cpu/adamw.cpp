// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels::cpu {

void adamw_update(TensorView values, TensorView first_moment, TensorView second_moment, TensorView gradient,
                  AdamWStep const& step, Stream&) {
    std::int64_t const n = values.elements();
    SELVAGE_CHECK(
        n % 16 == 0 && first_moment.elements() == n && second_moment.elements() == n && gradient.elements() == n,
        "AdamW needs four vectors of the same multiple of 16, not {}, {}, {} and {}", n, first_moment.elements(),
        second_moment.elements(), gradient.elements());
    SELVAGE_CHECK(step.step >= 1, "AdamW steps count from 1, not {}", step.step);
    double const beta1 = step.beta1;
    double const beta2 = step.beta2;
    auto const count = static_cast<double>(step.step);
    AdamWConstants const constants{.gradient_scale = step.gradient_scale,
                                   .beta1 = step.beta1,
                                   .one_minus_beta1 = static_cast<float>(1.0 - beta1),
                                   .beta2 = step.beta2,
                                   .one_minus_beta2 = static_cast<float>(1.0 - beta2),
                                   .first_correction = static_cast<float>(1.0 / (1.0 - std::pow(beta1, count))),
                                   .second_correction = static_cast<float>(1.0 / (1.0 - std::pow(beta2, count))),
                                   .epsilon = step.epsilon,
                                   .weight_decay = step.weight_decay,
                                   .learning_rate = step.learning_rate};
    float* const w = values.as<float>();
    float* const m = first_moment.as<float>();
    float* const v = second_moment.as<float>();
    float const* const g = gradient.as<float>();
    parallel_for(n, 1024, 4 * n, [&](std::int64_t begin, std::int64_t end) {
        kernel_table().adamw(w + begin, m + begin, v + begin, g + begin, constants, end - begin);
    });
}

void block_sums_of_squares(double* out, TensorView values, std::int64_t block, Stream&) {
    SELVAGE_CHECK(block > 0, "block of {}", block);
    std::int64_t const n = values.elements();
    float const* const x = values.as<float>();
    parallel_for((n + block - 1) / block, 1, n, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t b = begin; b < end; ++b)
            out[b] = kernel_table().sum_of_squares(x + b * block, std::min(block, n - b * block));
    });
}

void fill_adamw(Operations& operations) {
    operations.adamw_update = adamw_update;
    operations.block_sums_of_squares = block_sums_of_squares;
}

}  // namespace selvage::kernels::cpu

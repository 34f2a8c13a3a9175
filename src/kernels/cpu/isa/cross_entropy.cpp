// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/elements.h"
#include "kernels/cpu/isa/fill.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

template <class E>
void row_cross_entropy_backward(E* d_logits, float const* logits, float log_sum_exp, std::int64_t target, float weight,
                                std::int64_t n) {
    if (weight == 0.0F) {
        over_vectors(n, [&](std::int64_t i, auto count) { store(d_logits + i, set(0.0F), count); });
        return;
    }
    bool const here = 0 <= target && target < n;
    float const target_logit = here ? logits[target] : 0.0F;  // before it is written over
    over_vectors(n, [&](std::int64_t i, auto count) {
        ahead(d_logits + i, logits + i);
        store(d_logits + i, exp(load(logits + i, count) - set(log_sum_exp)) * set(weight), count);
    });
    if (here) d_logits[target] = rounded_to<E>((exp_scalar(target_logit - log_sum_exp) - 1.0F) * weight);
}

}  // namespace

void fill_cross_entropy(KernelTable& table) {
    table.f32.row_cross_entropy_backward = row_cross_entropy_backward<float>;
    table.bf16.row_cross_entropy_backward = row_cross_entropy_backward<BFloat16>;
}

}  // namespace selvage::kernels::SELVAGE_ISA

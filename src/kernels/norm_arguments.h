// SPDX-License-Identifier: Apache-2.0
#pragma once
// The arguments of norms, checked, as pointers.
#include <type_traits>

#include "kernels/accumulate.h"
#include "kernels/arguments.h"
#include "kernels/norm_pointers.h"

namespace selvage::kernels {

inline std::int64_t rows_of(TensorView in, TensorView weight) {
    std::int64_t const hidden = weight.elements();
    SELVAGE_CHECK(hidden > 0 && in.elements() % hidden == 0, "rows of {} for a weight of {}", in.shape().text(),
                  hidden);
    return in.elements() / hidden;
}

inline void check_kept(TensorView kept, std::int64_t rows) {
    SELVAGE_CHECK(kept.empty() || kept.elements() == rows, "{} values kept of {} rows", kept.elements(), rows);
}

struct NormForwardTensors {
    TensorView out, mean, rstd, sum, in, branch, weight, bias;
    float offset = 0;
};

template <class E, class In = float>
NormForward<E, In> forward_of(NormForwardTensors const& t, float epsilon) {
    check_same(t.out, t.in);
    SELVAGE_CHECK(t.sum.empty() == t.branch.empty(), "a sum belongs to a branch");
    if (!t.branch.empty()) {
        check_same(t.branch, t.in);
        check_same(t.sum, t.in);
    }
    check_kept(t.mean, rows_of(t.in, t.weight));
    check_kept(t.rstd, rows_of(t.in, t.weight));
    return {.out = t.out.as<E>(),
            .mean = optional<float>(t.mean),
            .rstd = optional<float>(t.rstd),
            .sum = optional<float>(t.sum),
            .in = t.in.as<In>(),
            .branch = optional<float>(t.branch),
            .weight = t.weight.as<float>(),
            .offset = t.offset,
            .bias = optional<float>(t.bias),
            .epsilon = epsilon,
            .hidden = t.weight.elements()};
}

struct NormBackwardTensors {
    TensorView d_in, d_in_compute, d_weight, d_bias, d_out, in, mean, rstd, weight;
    float offset = 0;
};

template <class E, class In = float>
NormBackward<E, In> backward_of(NormBackwardTensors const& t, Accumulate accumulate) {
    if constexpr (std::is_same_v<In, float>)
        check_same(t.d_in, t.in);
    else
        SELVAGE_CHECK(
            t.d_in.empty() && accumulate == Accumulate::overwrite && t.d_in_compute.elements() == t.in.elements(),
            "a gradient of {} in f32", t.in.shape().text());
    check_same(t.d_out, t.in);
    check_same(t.d_weight, t.weight);
    if (!t.d_in_compute.empty()) check_same(t.d_in_compute, t.in);
    SELVAGE_CHECK(t.rstd.elements() == rows_of(t.in, t.weight), "{} values kept of {}", t.rstd.elements(),
                  t.in.shape().text());
    return {.d_in = optional<float>(t.d_in),
            .d_in_compute = optional<E>(t.d_in_compute),
            .add = accumulate == Accumulate::add,
            .d_weight = t.d_weight.as<float>(),
            .d_bias = optional<float>(t.d_bias),
            .d_out = t.d_out.as<In>(),
            .in = t.in.as<In>(),
            .mean = optional<float>(t.mean),
            .rstd = t.rstd.as<float>(),
            .weight = t.weight.as<float>(),
            .offset = t.offset,
            .hidden = t.weight.elements()};
}

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.h"

#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels {
namespace {

float* optional(TensorView view) { return view.empty() ? nullptr : view.as<float>(); }

struct Sizes {
    std::int64_t rows;
    std::int64_t hidden;
};
Sizes sizes_of(TensorView in, TensorView weight) {
    std::int64_t const hidden = weight.elements();
    SELVAGE_CHECK(hidden > 0 && in.elements() % hidden == 0, "rows of {} for a weight of {}", in.shape().text(),
                  hidden);
    return {in.elements() / hidden, hidden};
}

template <class Work>
void over_rows(Sizes sizes, Work const& work) {
    parallel_for(sizes.rows, 1, 4 * sizes.rows * sizes.hidden, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) work(row, row * sizes.hidden);
    });
}

// d_weight (and d_bias) row by row, threads over columns.
void weight_gradient(Sizes sizes, float* d_weight, float* d_bias, float const* d_out, float const* in,
                     float const* mean, float const* rstd) {
    KernelTable const& table = kernel_table();
    parallel_for(sizes.hidden, 16, 4 * sizes.rows * sizes.hidden, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = 0; row < sizes.rows; ++row) {
            float const* const d = d_out + row * sizes.hidden + begin;
            table.row_weight_gradient(d_weight + begin, d, in + row * sizes.hidden + begin,
                                      mean == nullptr ? 0.0F : mean[row], rstd[row], end - begin);
            if (d_bias != nullptr) table.add(d_bias + begin, d, end - begin);
        }
    });
}

}  // namespace

void rmsnorm_forward(TensorView out, TensorView rstd, TensorView in, TensorView weight, float epsilon, Stream&) {
    Sizes const sizes = sizes_of(in, weight);
    float* const kept = optional(rstd);
    float* const o = out.as<float>();
    float const* const x = in.as<float>();
    float const* const w = weight.as<float>();
    over_rows(sizes, [&](std::int64_t row, std::int64_t offset) {
        float const value = kernel_table().row_rmsnorm(o + offset, x + offset, w, epsilon, sizes.hidden);
        if (kept != nullptr) kept[row] = value;
    });
}

void rmsnorm_backward(TensorView d_in, TensorView d_weight, TensorView d_out, TensorView in, TensorView rstd,
                      TensorView weight, Stream&) {
    Sizes const sizes = sizes_of(in, weight);
    if (sizes.rows == 0) return;
    float* const dx = d_in.as<float>();
    float const* const d = d_out.as<float>();
    float const* const x = in.as<float>();
    float const* const w = weight.as<float>();
    float const* const r = rstd.as<float>();
    weight_gradient(sizes, d_weight.as<float>(), nullptr, d, x, nullptr, r);
    over_rows(sizes, [&](std::int64_t row, std::int64_t offset) {
        kernel_table().row_rmsnorm_backward(dx + offset, d + offset, x + offset, w, r[row], sizes.hidden);
    });
}

void layernorm_forward(TensorView out, TensorView mean, TensorView rstd, TensorView in, TensorView weight,
                       TensorView bias, float epsilon, Stream&) {
    Sizes const sizes = sizes_of(in, weight);
    float* const kept_mean = optional(mean);
    float* const kept_rstd = optional(rstd);
    float* const o = out.as<float>();
    float const* const x = in.as<float>();
    float const* const w = weight.as<float>();
    float const* const b = bias.as<float>();
    over_rows(sizes, [&](std::int64_t row, std::int64_t offset) {
        float row_mean = 0;
        float row_rstd = 0;
        kernel_table().row_layernorm(o + offset, &row_mean, &row_rstd, x + offset, w, b, epsilon, sizes.hidden);
        if (kept_mean != nullptr) kept_mean[row] = row_mean;
        if (kept_rstd != nullptr) kept_rstd[row] = row_rstd;
    });
}

void layernorm_backward(TensorView d_in, TensorView d_weight, TensorView d_bias, TensorView d_out, TensorView in,
                        TensorView mean, TensorView rstd, TensorView weight, Stream&) {
    Sizes const sizes = sizes_of(in, weight);
    if (sizes.rows == 0) return;
    float* const dx = d_in.as<float>();
    float const* const d = d_out.as<float>();
    float const* const x = in.as<float>();
    float const* const w = weight.as<float>();
    float const* const m = mean.as<float>();
    float const* const r = rstd.as<float>();
    weight_gradient(sizes, d_weight.as<float>(), d_bias.as<float>(), d, x, m, r);
    over_rows(sizes, [&](std::int64_t row, std::int64_t offset) {
        kernel_table().row_layernorm_backward(dx + offset, d + offset, x + offset, w, m[row], r[row], sizes.hidden);
    });
}

}  // namespace selvage::kernels

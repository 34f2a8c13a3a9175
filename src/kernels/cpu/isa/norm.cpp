// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/simd.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

float inverse_root(float mean_square, float epsilon) { return 1.0F / __builtin_sqrtf(mean_square + epsilon); }

float row_rmsnorm(float* out, float const* in, float const* weight, float epsilon, std::int64_t n) {
    F16 squares = set(0.0F);
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const x = load(in + i, n - i);
        squares = fma(x, x, squares);
    }
    float const rstd = inverse_root(reduce_add(squares) / static_cast<float>(n), epsilon);
    for (std::int64_t i = 0; i < n; i += lanes)
        store(out + i, load(in + i, n - i) * set(rstd) * load(weight + i, n - i), n - i);
    return rstd;
}

void row_rmsnorm_backward(float* d_in, float const* d_out, float const* in, float const* weight, float rstd,
                          std::int64_t n) {
    F16 sum = set(0.0F);
    for (std::int64_t i = 0; i < n; i += lanes)
        sum = fma(load(d_out + i, n - i) * load(weight + i, n - i), load(in + i, n - i) * set(rstd), sum);
    F16 const mean = set(reduce_add(sum) / static_cast<float>(n));
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const g = load(d_out + i, n - i) * load(weight + i, n - i);
        F16 const normal = load(in + i, n - i) * set(rstd);
        store(d_in + i, (g - normal * mean) * set(rstd), n - i);
    }
}

void row_layernorm(float* out, float* mean, float* rstd, float const* in, float const* weight, float const* bias,
                   float epsilon, std::int64_t n) {
    F16 sum = set(0.0F);
    for (std::int64_t i = 0; i < n; i += lanes) sum = sum + load(in + i, n - i);
    *mean = reduce_add(sum) / static_cast<float>(n);
    F16 squares = set(0.0F);
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const x = load(in + i, n - i) - set(*mean);
        squares = fma(x, first(n - i, x, set(0.0F)), squares);
    }
    *rstd = inverse_root(reduce_add(squares) / static_cast<float>(n), epsilon);
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const normal = (load(in + i, n - i) - set(*mean)) * set(*rstd);
        store(out + i, fma(normal, load(weight + i, n - i), load(bias + i, n - i)), n - i);
    }
}

void row_layernorm_backward(float* d_in, float const* d_out, float const* in, float const* weight, float mean,
                            float rstd, std::int64_t n) {
    F16 sum = set(0.0F);
    F16 product = set(0.0F);
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const g = load(d_out + i, n - i) * load(weight + i, n - i);
        sum = sum + g;
        product = fma(g, (load(in + i, n - i) - set(mean)) * set(rstd), product);
    }
    F16 const mean_g = set(reduce_add(sum) / static_cast<float>(n));
    F16 const mean_product = set(reduce_add(product) / static_cast<float>(n));
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const g = load(d_out + i, n - i) * load(weight + i, n - i);
        F16 const normal = (load(in + i, n - i) - set(mean)) * set(rstd);
        store(d_in + i, (g - mean_g - normal * mean_product) * set(rstd), n - i);
    }
}

void row_weight_gradient(float* to, float const* d_out, float const* in, float mean, float rstd, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const normal = (load(in + i, n - i) - set(mean)) * set(rstd);
        store(to + i, fma(load(d_out + i, n - i), normal, load(to + i, n - i)), n - i);
    }
}

}  // namespace

void fill_norm(KernelTable& table) {
    table.row_rmsnorm = row_rmsnorm;
    table.row_rmsnorm_backward = row_rmsnorm_backward;
    table.row_layernorm = row_layernorm;
    table.row_layernorm_backward = row_layernorm_backward;
    table.row_weight_gradient = row_weight_gradient;
}

}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/elements.h"
#include "kernels/cpu/isa/fill.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

float inverse_root(float mean_square, float epsilon) { return 1.0F / __builtin_sqrtf(mean_square + epsilon); }

// What is normed: the input, or its sum with the branch, which is stored when it is read first.
template <class E, class In, class Count>
SELVAGE_INLINE F16 read_input(NormForward<E, In> const& norm, std::int64_t i, Count count) {
    F16 const x = load(norm.in + i, count);
    if constexpr (!__is_same(In, float)) return x;
    if (norm.branch == nullptr) return x;
    F16 const sum = x + load(norm.branch + i, count);
    store(norm.sum + i, sum, count);
    return sum;
}

// What RMS norm multiplies by.
template <class Norm, class Count>
SELVAGE_INLINE F16 factor(Norm const& norm, std::int64_t i, Count count) {
    return load(norm.weight + i, count) + set(norm.offset);
}

template <class E, class In>
void rmsnorm(NormForward<E, In> const& norm, Span rows) {
    std::int64_t const n = norm.hidden;
    In const* kept = norm.in;
    if constexpr (__is_same(In, float)) kept = norm.branch == nullptr ? norm.in : norm.sum;
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        std::int64_t const offset = row * n;
        F16 squares = set(0.0F);
        over_vectors(n, [&](std::int64_t i, auto count) {
            F16 const x = read_input(norm, offset + i, count);
            squares = fma(x, x, squares);
        });
        float const rstd = inverse_root(reduce_add(squares) / static_cast<float>(n), norm.epsilon);
        over_vectors(n, [&](std::int64_t i, auto count) {
            F16 const normal = load(kept + offset + i, count) * set(rstd);
            store(norm.out + offset + i, normal * factor(norm, i, count), count);
        });
        if (norm.rstd != nullptr) norm.rstd[row] = rstd;
    }
}

template <class E>
void layernorm(NormForward<E> const& norm, Span rows) {
    std::int64_t const n = norm.hidden;
    float const* const kept = norm.branch == nullptr ? norm.in : norm.sum;
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        std::int64_t const offset = row * n;
        F16 sum = set(0.0F);
        over_vectors(n, [&](std::int64_t i, auto count) { sum = sum + read_input(norm, offset + i, count); });
        float const mean = reduce_add(sum) / static_cast<float>(n);
        F16 squares = set(0.0F);
        for (std::int64_t i = 0; i < n; i += lanes) {
            F16 const x = load(kept + offset + i, n - i) - set(mean);
            squares = fma(x, first(n - i, x, set(0.0F)), squares);
        }
        float const rstd = inverse_root(reduce_add(squares) / static_cast<float>(n), norm.epsilon);
        over_vectors(n, [&](std::int64_t i, auto count) {
            F16 const normal = (load(kept + offset + i, count) - set(mean)) * set(rstd);
            store(norm.out + offset + i, fma(normal, load(norm.weight + i, count), load(norm.bias + i, count)), count);
        });
        if (norm.mean != nullptr) norm.mean[row] = mean;
        if (norm.rstd != nullptr) norm.rstd[row] = rstd;
    }
}

template <class E, class In, class Count>
SELVAGE_INLINE void write_d_in(NormBackward<E, In> const& norm, std::int64_t i, F16 value, Count count) {
    if (norm.add) value = load(norm.d_in + i, count) + value;
    if (norm.d_in != nullptr) store(norm.d_in + i, value, count);
    if (norm.d_in_compute != nullptr) store(norm.d_in_compute + i, value, count);
}

template <class E, class In>
void rmsnorm_backward(NormBackward<E, In> const& norm, Span rows) {
    std::int64_t const n = norm.hidden;
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        std::int64_t const offset = row * n;
        F16 const rstd = set(norm.rstd[row]);
        F16 sum = set(0.0F);
        over_vectors(n, [&](std::int64_t i, auto count) {
            F16 const g = load(norm.d_out + offset + i, count) * factor(norm, i, count);
            sum = fma(g, load(norm.in + offset + i, count) * rstd, sum);
        });
        F16 const mean = set(reduce_add(sum) / static_cast<float>(n));
        over_vectors(n, [&](std::int64_t i, auto count) {
            F16 const g = load(norm.d_out + offset + i, count) * factor(norm, i, count);
            F16 const normal = load(norm.in + offset + i, count) * rstd;
            write_d_in(norm, offset + i, (g - normal * mean) * rstd, count);
        });
    }
}

template <class E>
void layernorm_backward(NormBackward<E> const& norm, Span rows) {
    std::int64_t const n = norm.hidden;
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        std::int64_t const offset = row * n;
        F16 const mean = set(norm.mean[row]);
        F16 const rstd = set(norm.rstd[row]);
        F16 sum = set(0.0F);
        F16 product = set(0.0F);
        over_vectors(n, [&](std::int64_t i, auto count) {
            F16 const g = load(norm.d_out + offset + i, count) * load(norm.weight + i, count);
            sum = sum + g;
            product = fma(g, (load(norm.in + offset + i, count) - mean) * rstd, product);
        });
        F16 const mean_g = set(reduce_add(sum) / static_cast<float>(n));
        F16 const mean_product = set(reduce_add(product) / static_cast<float>(n));
        over_vectors(n, [&](std::int64_t i, auto count) {
            F16 const g = load(norm.d_out + offset + i, count) * load(norm.weight + i, count);
            F16 const normal = (load(norm.in + offset + i, count) - mean) * rstd;
            write_d_in(norm, offset + i, (g - mean_g - normal * mean_product) * rstd, count);
        });
    }
}

template <class E, class In>
void rmsnorm_weight_gradient(NormBackward<E, In> const& norm, Span rows, Span columns) {
    over_vectors(columns.end - columns.begin, [&](std::int64_t j, auto count) {
        std::int64_t const column = columns.begin + j;
        F16 sum = load(norm.d_weight + column, count);
        for (std::int64_t row = rows.begin; row < rows.end; ++row) {
            std::int64_t const i = row * norm.hidden + column;
            sum = fma(load(norm.d_out + i, count), load(norm.in + i, count) * set(norm.rstd[row]), sum);
        }
        store(norm.d_weight + column, sum, count);
    });
}

template <class E>
void layernorm_weight_gradient(NormBackward<E> const& norm, Span rows, Span columns) {
    over_vectors(columns.end - columns.begin, [&](std::int64_t j, auto count) {
        std::int64_t const column = columns.begin + j;
        F16 sum = load(norm.d_weight + column, count);
        F16 bias_sum = load(norm.d_bias + column, count);
        for (std::int64_t row = rows.begin; row < rows.end; ++row) {
            std::int64_t const i = row * norm.hidden + column;
            F16 const d = load(norm.d_out + i, count);
            sum = fma(d, (load(norm.in + i, count) - set(norm.mean[row])) * set(norm.rstd[row]), sum);
            bias_sum = bias_sum + d;
        }
        store(norm.d_weight + column, sum, count);
        store(norm.d_bias + column, bias_sum, count);
    });
}

template <class E>
void fill_norm_of(ElementKernels<E>& kernels) {
    kernels.rmsnorm = rmsnorm<E, float>;
    kernels.layernorm = layernorm<E>;
    kernels.rmsnorm_backward = rmsnorm_backward<E, float>;
    kernels.layernorm_backward = layernorm_backward<E>;
    kernels.rmsnorm_weight_gradient = rmsnorm_weight_gradient<E, float>;
    kernels.head_norm = rmsnorm<E, E>;
    kernels.head_norm_backward = rmsnorm_backward<E, E>;
    kernels.head_norm_weight_gradient = rmsnorm_weight_gradient<E, E>;
    kernels.layernorm_weight_gradient = layernorm_weight_gradient<E>;
}

}  // namespace

void fill_norm(KernelTable& table) {
    fill_norm_of(table.f32);
    fill_norm_of(table.bf16);
}

}  // namespace selvage::kernels::SELVAGE_ISA

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/simd.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr float root_two_over_pi_twice = 1.5957691216057308F;  // 2 sqrt(2 / pi)
constexpr float gelu_cubic = 0.044715F;

SELVAGE_INLINE F16 sigmoid(F16 x) { return set(1.0F) / (set(1.0F) + exp(set(0.0F) - x)); }

// The tanh form in terms of the sigmoid: (1 + tanh(u)) / 2 = sigmoid(2 u).
SELVAGE_INLINE F16 gelu_argument(F16 x) {
    return x * set(root_two_over_pi_twice) * fma(x * x, set(gelu_cubic), set(1.0F));
}
SELVAGE_INLINE F16 gate_value(F16 x, bool gelu) { return x * sigmoid(gelu ? gelu_argument(x) : x); }
SELVAGE_INLINE F16 gate_slope(F16 x, bool gelu) {
    F16 const s = sigmoid(gelu ? gelu_argument(x) : x);
    F16 const inner = gelu ? set(root_two_over_pi_twice) * fma(x * x, set(3 * gelu_cubic), set(1.0F)) : set(1.0F);
    return fma(x * inner, s * (set(1.0F) - s), s);
}

void gated_forward(float* out, float const* gate, float const* up, bool gelu, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes)
        store(out + i, gate_value(load(gate + i, n - i), gelu) * load(up + i, n - i), n - i);
}

void gated_backward(float* d_gate, float* d_up, float const* d_out, float const* gate, float const* up, bool gelu,
                    std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const g = load(gate + i, n - i);
        F16 const u = load(up + i, n - i);
        F16 const d = load(d_out + i, n - i);
        store(d_up + i, d * gate_value(g, gelu), n - i);
        store(d_gate + i, d * u * gate_slope(g, gelu), n - i);
    }
}

void gelu_forward(float* out, float const* in, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) store(out + i, gate_value(load(in + i, n - i), true), n - i);
}

void gelu_backward(float* d_in, float const* d_out, float const* in, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes)
        store(d_in + i, load(d_out + i, n - i) * gate_slope(load(in + i, n - i), true), n - i);
}

void add(float* to, float const* from, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) store(to + i, load(to + i, n - i) + load(from + i, n - i), n - i);
}

void rotate(float* x1, float* x2, float const* cosine, float const* sine, float sign, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const a = load(x1 + i, n - i);
        F16 const b = load(x2 + i, n - i);
        F16 const c = load(cosine + i, n - i);
        F16 const s = load(sine + i, n - i) * set(sign);
        store(x1 + i, fma(a, c, set(0.0F) - b * s), n - i);
        store(x2 + i, fma(b, c, a * s), n - i);
    }
}

void adamw(float* values, float* first_moment, float* second_moment, float const* gradient, AdamWConstants const& c,
           std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) {
        F16 const g = load(gradient + i) * set(c.gradient_scale);
        F16 const m = fma(set(c.beta1), load(first_moment + i), set(c.one_minus_beta1) * g);
        F16 const v = fma(set(c.beta2), load(second_moment + i), set(c.one_minus_beta2) * (g * g));
        F16 const root = sqrt(v * set(c.second_correction)) + set(c.epsilon);
        F16 const value = load(values + i);
        F16 const step = fma(set(c.weight_decay), value, m * set(c.first_correction) / root);
        store(first_moment + i, m);
        store(second_moment + i, v);
        store(values + i, fma(set(-c.learning_rate), step, value));
    }
}

// 16 sums side by side, then the tree; products of two floats are exact in fp64.
double sum_of_squares(float const* x, std::int64_t n) {
    double sums[lanes] = {};
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (int j = 0; j < lanes; ++j) {
            double const value = x[i + j];
            sums[j] += value * value;
        }
    for (int j = 0; i + j < n; ++j) {
        double const value = x[i + j];
        sums[j] += value * value;
    }
    for (int step = lanes / 2; step > 0; step /= 2)
        for (int j = 0; j < step; ++j) sums[j] += sums[j + step];
    return sums[0];
}

}  // namespace

void fill_elementwise(KernelTable& table) {
    table.gated_forward = gated_forward;
    table.gated_backward = gated_backward;
    table.gelu_forward = gelu_forward;
    table.gelu_backward = gelu_backward;
    table.add = add;
    table.rotate = rotate;
    table.adamw = adamw;
    table.sum_of_squares = sum_of_squares;
}

}  // namespace selvage::kernels::SELVAGE_ISA

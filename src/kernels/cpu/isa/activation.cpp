// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/elements.h"
#include "kernels/cpu/isa/fill.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr float root_two_over_pi_twice = 1.5957691216057308F;  // 2 sqrt(2 / pi)
constexpr float gelu_cubic = 0.044715F;

SELVAGE_INLINE F16 sigmoid(F16 x) { return set(1.0F) / (set(1.0F) + exp(set(0.0F) - x)); }

// SiLU, or the tanh form of GELU in terms of the sigmoid: (1 + tanh(u)) / 2 = sigmoid(2 u).
template <Gate gate>
struct Gated {
    F16 x;
    F16 s;
    SELVAGE_INLINE explicit Gated(F16 argument) : x(argument) {
        if constexpr (gate == Gate::gelu)
            s = sigmoid(x * set(root_two_over_pi_twice) * fma(x * x, set(gelu_cubic), set(1.0F)));
        else
            s = sigmoid(x);
    }
    SELVAGE_INLINE F16 value() const { return x * s; }
    SELVAGE_INLINE F16 slope() const {
        F16 inner = x;
        if constexpr (gate == Gate::gelu)
            inner = x * (set(root_two_over_pi_twice) * fma(x * x, set(3 * gelu_cubic), set(1.0F)));
        return fma(inner, s * (set(1.0F) - s), s);
    }
};

// x times the normal distribution's function, whose smaller tail is t exp(P(t) - x^2 / 2), t = 1 / (1 + |x| / sqrt(8)),
// with a polynomial P that interpolates that at Chebyshev's points, in 1e-6 of the tail for |x| < 4.
template <>
struct Gated<Gate::gelu_erf> {
    F16 x;
    F16 s;
    SELVAGE_INLINE explicit Gated(F16 argument) : x(argument) {
        constexpr float coefficients[] = {-0.669864064F, 1.13083562F,  -0.661640015F, -0.109034634F, 0.0166169233F,
                                          0.0293556760F, 0.387744313F, 0.998503499F,  -1.95858877F};
        F16 const t = set(1.0F) / fma(max(x, set(0.0F) - x), set(0.353553391F), set(1.0F));
        F16 p = set(0.142924318F);
        for (float const c : coefficients) p = fma(p, t, set(c));
        F16 const tail = t * exp(fma(x * set(-0.5F), x, p));
        s = where_less(x, set(0.0F), tail, set(1.0F) - tail);
    }
    SELVAGE_INLINE F16 value() const { return x * s; }
    SELVAGE_INLINE F16 slope() const { return fma(x * exp(x * x * set(-0.5F)), set(0.398942280F), s); }
};

template <Gate function, class E>
void gated_forward_by(E* out, E const* gate, E const* up, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) {
        store(out + i, Gated<function>(load(gate + i, count)).value() * load(up + i, count), count);
    });
}
template <class E>
void gated_forward(E* out, E const* gate, E const* up, Gate function, std::int64_t n) {
    if (function == Gate::silu) return gated_forward_by<Gate::silu>(out, gate, up, n);
    if (function == Gate::gelu) return gated_forward_by<Gate::gelu>(out, gate, up, n);
    gated_forward_by<Gate::gelu_erf>(out, gate, up, n);
}

template <Gate function, class E>
void gated_backward_by(E* d_gate, E* d_up, E const* d_out, E const* gate, E const* up, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) {
        Gated<function> const g(load(gate + i, count));
        F16 const u = load(up + i, count);
        F16 const d = load(d_out + i, count);
        store(d_up + i, d * g.value(), count);
        store(d_gate + i, d * u * g.slope(), count);
    });
}
template <class E>
void gated_backward(E* d_gate, E* d_up, E const* d_out, E const* gate, E const* up, Gate function, std::int64_t n) {
    if (function == Gate::silu) return gated_backward_by<Gate::silu>(d_gate, d_up, d_out, gate, up, n);
    if (function == Gate::gelu) return gated_backward_by<Gate::gelu>(d_gate, d_up, d_out, gate, up, n);
    gated_backward_by<Gate::gelu_erf>(d_gate, d_up, d_out, gate, up, n);
}

template <Gate function, class E>
void plain_forward(E* out, E const* in, std::int64_t n) {
    over_vectors(
        n, [&](std::int64_t i, auto count) { store(out + i, Gated<function>(load(in + i, count)).value(), count); });
}
template <class E>
void gelu_forward(E* out, E const* in, Gelu form, std::int64_t n) {
    form == Gelu::tanh ? plain_forward<Gate::gelu>(out, in, n) : plain_forward<Gate::gelu_erf>(out, in, n);
}

template <Gate function, class E>
void plain_backward(E* d_in, E const* d_out, E const* in, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) {
        store(d_in + i, load(d_out + i, count) * Gated<function>(load(in + i, count)).slope(), count);
    });
}
template <class E>
void gelu_backward(E* d_in, E const* d_out, E const* in, Gelu form, std::int64_t n) {
    form == Gelu::tanh ? plain_backward<Gate::gelu>(d_in, d_out, in, n)
                       : plain_backward<Gate::gelu_erf>(d_in, d_out, in, n);
}

void softcap_forward(float* x, float cap, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) { store(x + i, softcap(load(x + i, count), cap), count); });
}

template <class E>
void softcap_backward(E* d_x, float const* capped, float cap, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) {
        store(d_x + i, load(d_x + i, count) * softcap_slope(load(capped + i, count), cap), count);
    });
}

template <class E>
void fill_activation_of(ElementKernels<E>& kernels) {
    kernels.gated_forward = gated_forward<E>;
    kernels.gated_backward = gated_backward<E>;
    kernels.gelu_forward = gelu_forward<E>;
    kernels.gelu_backward = gelu_backward<E>;
    kernels.softcap_backward = softcap_backward<E>;
}

}  // namespace

void fill_activation(KernelTable& table) {
    fill_activation_of(table.f32);
    fill_activation_of(table.bf16);
    table.softcap = softcap_forward;
}

}  // namespace selvage::kernels::SELVAGE_ISA

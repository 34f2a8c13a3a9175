// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/elements.h"
#include "kernels/cpu/isa/fill.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr float root_two_over_pi_twice = 1.5957691216057308F;  // 2 sqrt(2 / pi)
constexpr float gelu_cubic = 0.044715F;

SELVAGE_INLINE F16 sigmoid(F16 x) { return set(1.0F) / (set(1.0F) + exp(set(0.0F) - x)); }

// SiLU, or the tanh form of GELU in terms of the sigmoid: (1 + tanh(u)) / 2 = sigmoid(2 u).
template <bool Gelu>
struct Gated {
    F16 x;
    F16 s;
    SELVAGE_INLINE explicit Gated(F16 argument) : x(argument) {
        if constexpr (Gelu)
            s = sigmoid(x * set(root_two_over_pi_twice) * fma(x * x, set(gelu_cubic), set(1.0F)));
        else
            s = sigmoid(x);
    }
    SELVAGE_INLINE F16 value() const { return x * s; }
    SELVAGE_INLINE F16 slope() const {
        F16 inner = x;
        if constexpr (Gelu) inner = x * (set(root_two_over_pi_twice) * fma(x * x, set(3 * gelu_cubic), set(1.0F)));
        return fma(inner, s * (set(1.0F) - s), s);
    }
};

template <bool Gelu, class E>
void gated_forward_by(E* out, E const* gate, E const* up, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) {
        store(out + i, Gated<Gelu>(load(gate + i, count)).value() * load(up + i, count), count);
    });
}
template <class E>
void gated_forward(E* out, E const* gate, E const* up, bool gelu, std::int64_t n) {
    gelu ? gated_forward_by<true>(out, gate, up, n) : gated_forward_by<false>(out, gate, up, n);
}

template <bool Gelu, class E>
void gated_backward_by(E* d_gate, E* d_up, E const* d_out, E const* gate, E const* up, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) {
        Gated<Gelu> const g(load(gate + i, count));
        F16 const u = load(up + i, count);
        F16 const d = load(d_out + i, count);
        store(d_up + i, d * g.value(), count);
        store(d_gate + i, d * u * g.slope(), count);
    });
}
template <class E>
void gated_backward(E* d_gate, E* d_up, E const* d_out, E const* gate, E const* up, bool gelu, std::int64_t n) {
    gelu ? gated_backward_by<true>(d_gate, d_up, d_out, gate, up, n)
         : gated_backward_by<false>(d_gate, d_up, d_out, gate, up, n);
}

template <class E>
void gelu_forward(E* out, E const* in, std::int64_t n) {
    over_vectors(n,
                 [&](std::int64_t i, auto count) { store(out + i, Gated<true>(load(in + i, count)).value(), count); });
}

template <class E>
void gelu_backward(E* d_in, E const* d_out, E const* in, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) {
        store(d_in + i, load(d_out + i, count) * Gated<true>(load(in + i, count)).slope(), count);
    });
}

template <class E>
void fill_activation_of(ElementKernels<E>& kernels) {
    kernels.gated_forward = gated_forward<E>;
    kernels.gated_backward = gated_backward<E>;
    kernels.gelu_forward = gelu_forward<E>;
    kernels.gelu_backward = gelu_backward<E>;
}

}  // namespace

void fill_activation(KernelTable& table) {
    fill_activation_of(table.f32);
    fill_activation_of(table.bf16);
}

}  // namespace selvage::kernels::SELVAGE_ISA

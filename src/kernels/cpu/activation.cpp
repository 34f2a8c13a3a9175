// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation.h"

#include <algorithm>

#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels {
namespace {

void check_same(TensorView a, TensorView b) {
    SELVAGE_CHECK(a.elements() == b.elements(), "shapes differ: {} and {}", a.shape().text(), b.shape().text());
}

template <class Work>
void over_elements(std::int64_t n, std::int64_t cost_per_element, Work const& work) {
    parallel_for(n, 1024, n * cost_per_element,
                 [&](std::int64_t begin, std::int64_t end) { work(begin, end - begin); });
}

}  // namespace

void gated_forward(TensorView out, TensorView gate, TensorView up, Gate function, Stream&) {
    check_same(out, gate);
    check_same(out, up);
    float* const o = out.as<float>();
    float const* const g = gate.as<float>();
    float const* const u = up.as<float>();
    over_elements(out.elements(), 4, [&](std::int64_t i, std::int64_t n) {
        kernel_table().gated_forward(o + i, g + i, u + i, function == Gate::gelu, n);
    });
}

void gated_backward(TensorView d_gate, TensorView d_up, TensorView d_out, TensorView gate, TensorView up, Gate function,
                    Stream&) {
    check_same(d_gate, gate);
    check_same(d_up, up);
    check_same(d_out, gate);
    check_same(gate, up);
    float* const dg = d_gate.as<float>();
    float* const du = d_up.as<float>();
    float const* const d = d_out.as<float>();
    float const* const g = gate.as<float>();
    float const* const u = up.as<float>();
    over_elements(gate.elements(), 8, [&](std::int64_t i, std::int64_t n) {
        kernel_table().gated_backward(dg + i, du + i, d + i, g + i, u + i, function == Gate::gelu, n);
    });
}

void gelu_forward(TensorView out, TensorView in, Stream&) {
    check_same(out, in);
    float* const o = out.as<float>();
    float const* const x = in.as<float>();
    over_elements(in.elements(), 4,
                  [&](std::int64_t i, std::int64_t n) { kernel_table().gelu_forward(o + i, x + i, n); });
}

void gelu_backward(TensorView d_in, TensorView d_out, TensorView in, Stream&) {
    check_same(d_in, in);
    check_same(d_out, in);
    float* const dx = d_in.as<float>();
    float const* const d = d_out.as<float>();
    float const* const x = in.as<float>();
    over_elements(in.elements(), 6,
                  [&](std::int64_t i, std::int64_t n) { kernel_table().gelu_backward(dx + i, d + i, x + i, n); });
}

void add_in_place(TensorView to, TensorView from, Stream&) {
    check_same(to, from);
    float* const t = to.as<float>();
    float const* const f = from.as<float>();
    over_elements(to.elements(), 1, [&](std::int64_t i, std::int64_t n) { kernel_table().add(t + i, f + i, n); });
}

void fill(TensorView out, float value, Stream&) {
    float* const o = out.as<float>();
    over_elements(out.elements(), 1, [&](std::int64_t i, std::int64_t n) { std::fill_n(o + i, n, value); });
}

void add_column_sums(TensorView sums, TensorView rows, Stream&) {
    std::int64_t const n = sums.elements();
    float* const s = sums.as<float>();
    float const* const x = rows.as<float>();
    parallel_for(n, 16, rows.elements(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = 0; row < rows.dim(0); ++row)
            kernel_table().add(s + begin, x + row * n + begin, end - begin);
    });
}

}  // namespace selvage::kernels

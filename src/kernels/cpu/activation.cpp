// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation.h"

#include <algorithm>
#include <cstdint>

#include "kernels/arguments.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels::cpu {
namespace {

constexpr std::int64_t streamed_elements = std::int64_t{1} << 22;  // to fill: more than caches keep
constexpr std::int64_t rows_per_block = 8;  // of column sums: as many streams from memory as are read at a time

template <class Work>
void over_elements(std::int64_t n, std::int64_t cost_per_element, Work const& work) {
    parallel_for(n, 1024, n * cost_per_element,
                 [&](std::int64_t begin, std::int64_t end) { work(begin, end - begin); });
}

}  // namespace

void gated_forward(TensorView out, TensorView gate, TensorView up, Gate function, Stream&) {
    check_same(out, gate);
    check_same(out, up);
    with_element(out, [&]<class E>() {
        E* const o = out.as<E>();
        E const* const g = gate.as<E>();
        E const* const u = up.as<E>();
        over_elements(out.elements(), 4, [&](std::int64_t i, std::int64_t n) {
            kernel_table().of<E>().gated_forward(o + i, g + i, u + i, function, n);
        });
    });
}

void gated_backward(TensorView d_gate, TensorView d_up, TensorView d_out, TensorView gate, TensorView up, Gate function,
                    Stream&) {
    check_same(d_gate, gate);
    check_same(d_up, up);
    check_same(d_out, gate);
    check_same(gate, up);
    with_element(gate, [&]<class E>() {
        E* const dg = d_gate.as<E>();
        E* const du = d_up.as<E>();
        E const* const d = d_out.as<E>();
        E const* const g = gate.as<E>();
        E const* const u = up.as<E>();
        over_elements(gate.elements(), 8, [&](std::int64_t i, std::int64_t n) {
            kernel_table().of<E>().gated_backward(dg + i, du + i, d + i, g + i, u + i, function, n);
        });
    });
}

void gelu_forward(TensorView out, TensorView in, Gelu form, Stream&) {
    check_same(out, in);
    with_element(out, [&]<class E>() {
        E* const o = out.as<E>();
        E const* const x = in.as<E>();
        over_elements(in.elements(), 4, [&](std::int64_t i, std::int64_t n) {
            kernel_table().of<E>().gelu_forward(o + i, x + i, form, n);
        });
    });
}

void gelu_backward(TensorView d_in, TensorView d_out, TensorView in, Gelu form, Stream&) {
    check_same(d_in, in);
    check_same(d_out, in);
    with_element(in, [&]<class E>() {
        E* const dx = d_in.as<E>();
        E const* const d = d_out.as<E>();
        E const* const x = in.as<E>();
        over_elements(in.elements(), 6, [&](std::int64_t i, std::int64_t n) {
            kernel_table().of<E>().gelu_backward(dx + i, d + i, x + i, form, n);
        });
    });
}

void softcap_forward(TensorView x, float cap, Stream&) {
    float* const values = x.as<float>();
    over_elements(x.elements(), 4, [&](std::int64_t i, std::int64_t n) { kernel_table().softcap(values + i, cap, n); });
}

void softcap_backward(TensorView d_x, TensorView capped, float cap, Stream&) {
    check_same(d_x, capped);
    float const* const y = capped.as<float>();
    with_element(d_x, [&]<class E>() {
        E* const d = d_x.as<E>();
        over_elements(d_x.elements(), 2, [&](std::int64_t i, std::int64_t n) {
            kernel_table().of<E>().softcap_backward(d + i, y + i, cap, n);
        });
    });
}

void add_in_place(TensorView to, TensorView from, Stream&) {
    check_same(to, from);
    float* const t = to.as<float>();
    float const* const f = from.as<float>();
    over_elements(to.elements(), 1, [&](std::int64_t i, std::int64_t n) { kernel_table().add(t + i, f + i, n); });
}

void scale_in_place(TensorView x, float factor, Stream&) {
    float* const values = x.as<float>();
    over_elements(x.elements(), 1,
                  [&](std::int64_t i, std::int64_t n) { kernel_table().scale(values + i, factor, n); });
}

void add_to_rows(TensorView rows, TensorView row, Stream&) {
    std::int64_t const n = row.elements();
    if (rows.empty()) return;
    SELVAGE_CHECK(rows.elements() % n == 0, "{} added to {}", row.shape().text(), rows.shape().text());
    float* const x = rows.as<float>();
    float const* const added = row.as<float>();
    parallel_for(rows.elements() / n, 1, rows.elements(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) kernel_table().add(x + i * n, added, n);
    });
}

void fill(TensorView out, float value, Stream&) {
    float* const o = out.as<float>();
    bool const streaming = out.elements() >= streamed_elements && reinterpret_cast<std::uintptr_t>(o) % 64 == 0;
    over_elements(out.elements(), 1, [&](std::int64_t i, std::int64_t n) {
        (streaming ? kernel_table().fill_streaming : kernel_table().fill)(o + i, value, n);
    });
}

void add_column_sums(TensorView sums, TensorView rows, Stream&) {
    std::int64_t const n = sums.elements();
    std::int64_t const count = n == 0 ? 0 : rows.elements() / n;
    SELVAGE_CHECK(rows.elements() == count * n, "sums of {} columns over {}", n, rows.shape().text());
    with_element(rows, [&]<class E>() {
        float* const s = sums.as<float>();
        E const* const x = rows.as<E>();
        parallel_for(n, 16, count * n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = 0; row < count; row += rows_per_block)
                kernel_table().of<E>().add_rows(s + begin, x + row * n + begin, std::min(rows_per_block, count - row),
                                                n, end - begin);
        });
    });
}

void convert(TensorView out, TensorView in, Stream&) {
    check_same(out, in);
    SELVAGE_CHECK(out.dtype() != in.dtype(), "conversion from {} to itself", name_of(in.dtype()));
    bool const narrows = out.dtype() == DType::bf16;
    TensorView const& wide = narrows ? in : out;
    TensorView const& narrow = narrows ? out : in;
    float* const w = wide.as<float>();
    BFloat16* const b = narrow.as<BFloat16>();
    over_elements(out.elements(), 1, [&](std::int64_t i, std::int64_t n) {
        narrows ? kernel_table().narrow(b + i, w + i, n) : kernel_table().widen(w + i, b + i, n);
    });
}

void fill_activation(Operations& operations) {
    operations.gated_forward = gated_forward;
    operations.gated_backward = gated_backward;
    operations.gelu_forward = gelu_forward;
    operations.gelu_backward = gelu_backward;
    operations.softcap_forward = softcap_forward;
    operations.softcap_backward = softcap_backward;
    operations.add_in_place = add_in_place;
    operations.scale_in_place = scale_in_place;
    operations.add_to_rows = add_to_rows;
    operations.fill = fill;
    operations.add_column_sums = add_column_sums;
    operations.convert = convert;
}

}  // namespace selvage::kernels::cpu

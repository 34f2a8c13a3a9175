// SPDX-License-Identifier: Apache-2.0
// Times the two ways of matrix products and the attention. Not a test: run by hand.
#include <fmt/core.h>
#include <omp.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <vector>

#include "base/timer.h"
#include "kernels/attention.h"
#include "kernels/cpu/gemm_ways.h"
#include "kernels/gemm.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::Floats;
using test::random_floats;
using test::view;

// With one thread the processor's time counts, not the clock's: others may be using the machine.
double now() {
    return omp_get_max_threads() > 1 ? omp_get_wtime() : static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

// The shortest of some calls, in seconds.
double time_of(std::function<void()> const& work) {
    work();
    std::vector<double> times;
    for (double total = 0; total < 0.15 || times.size() < 5;) {
        double const start = now();
        work();
        times.push_back(now() - start);
        total += times.back();
    }
    return *std::min_element(times.begin(), times.end());
}

void products(std::int64_t n, std::int64_t k) {
    Floats const weight = random_floats(n * k, 1);
    Floats panels(static_cast<std::size_t>(panel_count(n) * panel_elements(k)));
    pack_panels(panels.data(), weight.data(), true, n, k);
    for (std::int64_t const m : {1, 2, 4, 8, 16, 32, 64, 256, 1024}) {
        Floats const in = random_floats(m * std::max(n, k), 2);
        Floats out(static_cast<std::size_t>(m * std::max(n, k)));
        Floats gradient(weight.size());
        MatrixProduct const packed{.c = out.data(), .a = in.data(), .panels = panels.data(), .m = m, .n = n, .k = k};
        MatrixProduct plain = packed;
        plain.panels = nullptr;
        plain.b = weight.data();
        plain.b_transposed = true;
        MatrixProduct const input{.c = out.data(), .a = in.data(), .b = weight.data(), .m = m, .n = k, .k = n};
        MatrixProduct const by_weight{.c = gradient.data(),
                                      .a = in.data(),
                                      .b = in.data(),
                                      .m = n,
                                      .n = k,
                                      .k = m,
                                      .a_transposed = true,
                                      .add = true};
        fmt::print("{:5} {:5} {:5}", m, n, k);
        for (MatrixProduct const& x : {packed, plain, input, by_weight}) {
            double const work = 2e-9 * static_cast<double>(x.m * x.n * x.k);
            fmt::print("  {:6.1f}", work / time_of([&] { ordered_product(x); }));
            if (library_product(x))
                fmt::print(" /{:6.1f}", work / time_of([&] { library_product(x); }));
            else
                fmt::print(" /   -  ");
        }
        fmt::print("\n");
    }
}

void attention(std::int64_t length, std::int64_t heads, std::int64_t head_size) {
    Stream stream(DeviceKind::cpu);
    Shape const shape{length, heads, head_size};
    std::int64_t const n = shape.elements();
    Floats const q = random_floats(n, 1), k = random_floats(n, 2), v = random_floats(n, 3), d_out = random_floats(n, 4);
    Floats out(q.size()), dq(q.size()), dk(q.size()), dv(q.size());
    Floats log_sum_exp(static_cast<std::size_t>(length * heads));
    std::int64_t const pages = (length + 63) / 64;
    std::int64_t const page_size = 2 * heads * head_size * 64;
    Floats store(static_cast<std::size_t>(pages * page_size));
    KvPages const kv{view(store, {pages, page_size}), heads, head_size};
    std::vector<std::int32_t> table;
    for (std::int64_t i = 0; i < pages; ++i) table.push_back(static_cast<std::int32_t>(i));
    AttentionSegment const segment{0, length, 0, table};
    double const stored = time_of([&] { store_kv(kv, view(k, shape), view(v, shape), {&segment, 1}, stream); });
    double const forward = time_of([&] {
        attention_forward(view(out, shape), view(log_sum_exp, {length, heads}), view(q, shape), kv, {&segment, 1},
                          0.125F, stream);
    });
    double const backward = time_of([&] {
        attention_backward(view(dq, shape), view(dk, shape), view(dv, shape), view(d_out, shape), view(out, shape),
                           view(log_sum_exp, {length, heads}), view(q, shape), view(k, shape), view(v, shape),
                           {&segment, 1}, 0.125F, stream);
    });
    double const work = 2e-9 * static_cast<double>(heads * head_size * length * (length + 1));
    AttentionSegment const last{0, 1, length - 1, table};
    Shape const one{1, heads, head_size};
    double const decode = time_of([&] {
        attention_forward(TensorView::of(out.data(), one), {}, TensorView::of(q.data(), one), kv, {&last, 1}, 0.125F,
                          stream);
    });
    fmt::print(
        "attention {} tokens, {} heads of {}: store {:.2f} ms, forward {:.2f} ms ({:.1f} GFLOP/s), backward {:.2f} ms "
        "({:.1f} GFLOP/s), one decode row {:.1f} us\n",
        length, heads, head_size, 1e3 * stored, 1e3 * forward, work / forward, 1e3 * backward, 2.5 * work / backward,
        1e6 * decode);
}

}  // namespace
}  // namespace selvage::kernels

int main() {
    using namespace selvage::kernels;
    GemmReport const& report = choose_gemm();
    fmt::print("{}, {}, {} threads; {}\n", report.instruction_set, report.library, omp_get_max_threads(),
               report.reason);
    fmt::print("GFLOP/s, own / library: packed forward, plain forward, input gradient, weight gradient\n");
    products(768, 768);
    products(3072, 768);
    products(768, 3072);
    attention(1024, 4, 64);
    attention(1024, 12, 64);
}

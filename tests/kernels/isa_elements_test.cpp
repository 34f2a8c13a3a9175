// SPDX-License-Identifier: Apache-2.0
// Loops over elements give the same bits by every instruction set and any number of threads.
#include <omp.h>

#include <cmath>
#include <limits>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/cpu/table.h"
#include "kernels/cross_entropy.h"
#include "kernels/elements.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"

namespace selvage::kernels {
namespace {

using test::append;
using test::Elements;
using test::Floats;
using test::floats_of;
using test::other_tables;
using test::random_elements;
using test::random_floats;
using test::same_bits;
using test::view;
using test::view_of;

constexpr std::int64_t sizes[] = {1, 16, 30, 2100};

template <class E>
Floats norms(KernelTable const& t) {
    Floats all;
    std::int64_t const rows = 5;
    for (std::int64_t const n : sizes)
        for (bool const with_branch : {false, true})
            for (bool const centred : {false, true}) {
                Floats const in = random_floats(rows * n, 1, 3), branch = random_floats(rows * n, 2),
                             weight = random_floats(n, 3), bias = random_floats(n, 4),
                             d_out = random_floats(rows * n, 5);
                Floats mean(rows), rstd(rows), sum(in.size()), d_in = in, d_weight = weight, d_bias = bias;
                Elements<E> out(in.size()), d_in_compute(in.size());
                NormForward<E> const forward{.out = out.data(),
                                             .mean = centred ? mean.data() : nullptr,
                                             .rstd = rstd.data(),
                                             .sum = with_branch ? sum.data() : nullptr,
                                             .in = in.data(),
                                             .branch = with_branch ? branch.data() : nullptr,
                                             .weight = weight.data(),
                                             .offset = centred ? 0.0F : 1.0F,
                                             .bias = bias.data(),
                                             .epsilon = 1e-6F,
                                             .hidden = n};
                NormBackward<E> const backward{.d_in = d_in.data(),
                                               .d_in_compute = d_in_compute.data(),
                                               .add = with_branch,
                                               .d_weight = d_weight.data(),
                                               .d_bias = d_bias.data(),
                                               .d_out = d_out.data(),
                                               .in = in.data(),
                                               .mean = mean.data(),
                                               .rstd = rstd.data(),
                                               .weight = weight.data(),
                                               .offset = centred ? 0.0F : 1.0F,
                                               .hidden = n};
                ElementKernels<E> const& of = t.of<E>();
                (centred ? of.layernorm : of.rmsnorm)(forward, {0, rows});
                (centred ? of.layernorm_backward : of.rmsnorm_backward)(backward, {0, rows});
                (centred ? of.layernorm_weight_gradient : of.rmsnorm_weight_gradient)(backward, {0, rows}, {0, n});
                for (Floats const* part : {&mean, &rstd, &sum, &d_in, &d_weight, &d_bias}) append(all, *part);
                append(all, floats_of(out));
                append(all, floats_of(d_in_compute));
            }
    return all;
}

template <class E>
Floats activations(KernelTable const& t) {
    Floats all;
    ElementKernels<E> const& of = t.of<E>();
    for (std::int64_t const n : sizes) {
        Elements<E> const a = random_elements<E>(n, 1, 10), b = random_elements<E>(n, 2), c = random_elements<E>(n, 3);
        Elements<E> out(a.size()), other(a.size());
        auto const keep = [&] {
            append(all, floats_of(out));
            append(all, floats_of(other));
        };
        for (Gate const gate : {Gate::silu, Gate::gelu, Gate::gelu_erf}) {
            of.gated_forward(out.data(), a.data(), b.data(), gate, n);
            keep();
            of.gated_backward(out.data(), other.data(), c.data(), a.data(), b.data(), gate, n);
            keep();
        }
        for (Gelu const form : {Gelu::tanh, Gelu::erf}) {
            of.gelu_forward(out.data(), a.data(), form, n);
            of.gelu_backward(other.data(), b.data(), a.data(), form, n);
            keep();
        }
        Floats capped = random_floats(n, 8, 60);
        t.softcap(capped.data(), 30, n);
        of.softcap_backward(out.data(), capped.data(), 30, n);
        t.scale(capped.data(), 1.7F, n);
        append(all, capped);
        keep();
        Floats const angles = random_floats(2 * n, 4), logits = random_floats(n, 5, 10);
        Elements<E> heads = random_elements<E>(3 * (2 * n + 1), 6);
        of.rotate(heads.data(), angles.data(), angles.data() + n, -1.0F, 3, 2 * n + 1, n);
        append(all, floats_of(heads));
        Floats sums = random_floats(n, 7);
        of.add_rows(sums.data(), heads.data(), 5, n + 1, n);
        append(all, sums);
        of.row_cross_entropy_backward(out.data(), logits.data(), 9.0F, n / 2, 0.3F, n);
        keep();
    }
    return all;
}

TEST(InstructionSets, GiveTheSameBitsOfElements) {
    KernelTable const& portable = *kernel_table("portable");
    int compared = 0;
    for (char const* const name : other_tables) {
        KernelTable const* const table = kernel_table(name);
        if (table == nullptr) continue;
        ++compared;
        EXPECT_TRUE(same_bits(norms<float>(portable), norms<float>(*table))) << name;
        EXPECT_TRUE(same_bits(norms<BFloat16>(portable), norms<BFloat16>(*table))) << name;
        EXPECT_TRUE(same_bits(activations<float>(portable), activations<float>(*table))) << name;
        EXPECT_TRUE(same_bits(activations<BFloat16>(portable), activations<BFloat16>(*table))) << name;
    }
    if (compared == 0) GTEST_SKIP() << "this processor has only the portable table";
}

// Ties, carries into the exponent, the smallest and the largest numbers, and both infinities.
Floats values_to_round() {
    Floats x = random_floats(5000, 8, 1e3);
    for (std::uint32_t high = 0; high < 0x7f80U; high += 37)
        for (std::uint32_t const low : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU})
            for (std::uint32_t const sign : {0U, 0x80000000U})
                x.push_back(std::bit_cast<float>(sign | high << 16 | low));
    float const infinity = std::numeric_limits<float>::infinity();
    append(x, {infinity, -infinity, std::bit_cast<float>(0x00008000U), std::bit_cast<float>(0x00018000U)});
    return x;
}

TEST(InstructionSets, RoundToTheNearestEvenBFloat16) {
    Floats const x = values_to_round();
    auto const n = static_cast<std::int64_t>(x.size());
    for (char const* const name : {"portable", other_tables[0], other_tables[1], other_tables[2], other_tables[3]}) {
        KernelTable const* const table = kernel_table(name);
        if (table == nullptr) continue;
        Elements<BFloat16> narrow(x.size());
        table->narrow(narrow.data(), x.data(), n);
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (std::isinf(x[i]))
                ASSERT_EQ(test::widened(narrow[i]), x[i]);
            else
                ASSERT_EQ(narrow[i].bits, test::nearest<BFloat16>(x[i]).bits) << name << " " << x[i];
        }
        Floats wide(x.size());
        table->widen(wide.data(), narrow.data(), n);
        EXPECT_TRUE(same_bits(wide, floats_of(narrow))) << name;
        float const nan = std::bit_cast<float>(0x7f800001U);
        table->narrow(narrow.data(), &nan, 1);
        EXPECT_TRUE(std::isnan(test::widened(narrow[0]))) << name;
    }
}

template <class E>
Floats norms_with_threads() {
    Stream stream(DeviceKind::cpu);
    Floats all;
    std::int64_t const rows = 531, n = 200;
    Shape const shape{rows, n};
    Floats const in = random_floats(rows * n, 1, 3), d_out = random_floats(rows * n, 2), weight = random_floats(n, 3);
    Floats sum = random_floats(rows * n, 4), d_in = sum, mean(rows), rstd(rows), d_weight(weight), d_bias(weight);
    Elements<E> out(in.size());
    TensorView const of_out = view_of(out, shape);
    auto const keep = [&] {
        for (Floats const* part : {&sum, &d_in, &mean, &rstd, &d_weight, &d_bias}) append(all, *part);
        append(all, floats_of(out));
    };
    rmsnorm_forward(of_out, view(rstd, {rows}), view(sum, shape), view(in, shape), view(sum, shape), view(weight, {n}),
                    1e-5F, stream);
    keep();
    rmsnorm_backward(view(d_in, shape), of_out, Accumulate::add, view(d_weight, {n}), view(d_out, shape),
                     view(sum, shape), view(rstd, {rows}), view(weight, {n}), stream);
    keep();
    layernorm_forward(of_out, view(mean, {rows}), view(rstd, {rows}), {}, view(in, shape), {}, view(weight, {n}),
                      view(d_out, {rows * n}).rows(0, n), 1e-5F, stream);
    keep();
    layernorm_backward(view(d_in, shape), of_out, Accumulate::add, view(d_weight, {n}), view(d_bias, {n}),
                       view(d_out, shape), view(in, shape), view(mean, {rows}), view(rstd, {rows}), view(weight, {n}),
                       stream);
    keep();
    return all;
}

template <class E>
Floats activations_with_threads() {
    Stream stream(DeviceKind::cpu);
    Floats all;
    std::int64_t const rows = 131, n = 1003;
    Shape const shape{rows, n};
    Elements<E> const gate = random_elements<E>(rows * n, 1, 6), up = random_elements<E>(rows * n, 2);
    Elements<E> a = gate, b = up;
    gated_forward(view_of(a, shape), view_of(gate, shape), view_of(up, shape), Gate::silu, stream);
    append(all, floats_of(a));
    gated_backward(view_of(a, shape), view_of(b, shape), view_of(up, shape), view_of(gate, shape), view_of(up, shape),
                   Gate::gelu, stream);
    append(all, floats_of(a));
    append(all, floats_of(b));
    std::vector<std::int32_t> places;
    for (std::int32_t row = 0; row < rows; ++row) places.push_back(row * row % 17);
    rotary_forward(view_of(a, {rows, 17, 59}), view(places), {10000.0, 36}, stream);
    append(all, floats_of(a));
    Floats sums = random_floats(n, 3), table = random_floats(17 * n, 4), total = Floats(rows, 20.0F),
           logits = floats_of(gate);
    add_column_sums(view(sums, {n}), view_of(up, shape), stream);
    embedding_backward(view(table, {17, n}), view(logits, shape), view(places), stream);
    append(all, sums);
    append(all, table);
    cross_entropy_backward(view_of(a, shape), view(logits, shape), view(total, {rows}), view(places),
                           view(total, {rows}), stream);
    append(all, floats_of(a));
    return all;
}

Floats updates_with_threads() {
    Stream stream(DeviceKind::cpu);
    std::int64_t const n = 16 * 4099;
    Floats values = random_floats(n, 1), first(values.size()), second(values.size());
    Floats const gradient = random_floats(n, 2);
    adamw_update(view(values, {n}), view(first, {n}), view(second, {n}), view(gradient, {n}), {.step = 2}, stream);
    std::vector<double> sums(static_cast<std::size_t>((n + 4095) / 4096));
    block_sums_of_squares(sums.data(), view(gradient, {n}), 4096, stream);
    Floats all = values;
    append(all, first);
    append(all, second);
    for (double const sum : sums) all.push_back(static_cast<float>(sum));
    return all;
}

TEST(Threads, DoNotChangeElements) {
    int const before = omp_get_max_threads();
    std::vector<Floats> results;
    for (int const threads : {1, 2, 3, 7}) {
        omp_set_num_threads(threads);
        Floats all = norms_with_threads<float>();
        append(all, norms_with_threads<BFloat16>());
        append(all, activations_with_threads<float>());
        append(all, activations_with_threads<BFloat16>());
        append(all, updates_with_threads());
        results.push_back(all);
    }
    omp_set_num_threads(before);
    for (Floats const& result : results) EXPECT_TRUE(same_bits(result, results[0]));
}

}  // namespace
}  // namespace selvage::kernels

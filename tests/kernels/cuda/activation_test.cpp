// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <numbers>

#include "kernels/cuda/emulated.h"
#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
using test::emulated;
using test::emulated_stream;
using test::epsilon_f32;
using test::epsilon_of;
using test::Floats;
using test::random_elements;
using test::random_floats;
using test::view;
using test::view_of;
using test::widened;

double gate_value(double x, Gate function) {
    if (function == Gate::silu) return x / (1 + std::exp(-x));
    if (function == Gate::gelu_erf) return 0.5 * x * std::erfc(-x / std::sqrt(2));
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double gate_slope(double x, Gate function) {
    double const step = 1e-5;
    return (gate_value(x + step, function) - gate_value(x - step, function)) / (2 * step);
}

// About ten roundings, one of them amplified by the argument of exp, which is below 64 here.
constexpr double relative = 80 * epsilon_f32;
constexpr double slope_error = 1e-9;  // of the finite difference

// What fp32 arithmetic may be off by, and then the rounding to the type that is stored.
template <class E>
void expect_elements(Elements<E> const& got, std::vector<double> const& wanted, double absolute) {
    ASSERT_EQ(got.size(), wanted.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        double const error = absolute + relative * std::abs(wanted[i]);
        double const rounding = std::is_same_v<E, float> ? 0 : epsilon_of<E> * (std::abs(wanted[i]) + error);
        ASSERT_LE(std::abs(widened(got[i]) - wanted[i]), error + rounding)
            << "element " << i << ": " << widened(got[i]) << " for " << wanted[i];
    }
}

// Elements in memory that begins anywhere: `shift` elements past a place that is aligned.
template <class E>
struct Shifted {
    Shifted(Elements<E> const& from, std::size_t shift) : memory(from.size() + shift), first(shift) {
        std::copy(from.begin(), from.end(), memory.begin() + static_cast<std::ptrdiff_t>(shift));
    }
    TensorView view() const {
        return TensorView::of(memory.data() + first, {static_cast<std::int64_t>(memory.size() - first)});
    }
    Elements<E> values() const { return {memory.begin() + static_cast<std::ptrdiff_t>(first), memory.end()}; }
    Elements<E> memory;
    std::size_t first;
};

std::vector<std::int64_t> sizes() {
    if constexpr (test::tiny) return {0, 1, 17, 300};
    return {0, 1, 7, 8, 17, 1000, 2049, 4097};
}

template <class E>
class EmulatedActivation : public testing::Test {};
TYPED_TEST_SUITE(EmulatedActivation, test::ElementTypes);

TYPED_TEST(EmulatedActivation, GatedForwardAndBackward) {
    for (std::int64_t const n : sizes())
        for (std::size_t const shift : {0, 1}) {
            Elements<TypeParam> const gate = random_elements<TypeParam>(n, 1, 6);
            Elements<TypeParam> const up = random_elements<TypeParam>(n, 2);
            Elements<TypeParam> const d_out = random_elements<TypeParam>(n, 3);
            for (Gate const function : {Gate::silu, Gate::gelu, Gate::gelu_erf}) {
                std::vector<double> out, d_gate, d_up;
                for (std::size_t i = 0; i < gate.size(); ++i) {
                    double const g = widened(gate[i]), u = widened(up[i]), d = widened(d_out[i]);
                    out.push_back(gate_value(g, function) * u);
                    d_gate.push_back(gate_slope(g, function) * u * d);
                    d_up.push_back(gate_value(g, function) * d);
                }
                Shifted<TypeParam> const got(gate, shift), dg(gate, shift), du(up, shift);
                emulated().gated_forward(got.view(), view_of(gate, {n}), view_of(up, {n}), function, emulated_stream());
                expect_elements(got.values(), out, relative * 1e-3);
                emulated().gated_backward(dg.view(), du.view(), view_of(d_out, {n}), dg.view(), du.view(), function,
                                          emulated_stream());  // in place
                expect_elements(dg.values(), d_gate, relative + slope_error);
                expect_elements(du.values(), d_up, relative * 1e-3);
            }
        }
}

TYPED_TEST(EmulatedActivation, GeluForwardAndBackward) {
    for (Gelu const form : {Gelu::tanh, Gelu::erf})
        for (std::int64_t const n : sizes()) {
            Elements<TypeParam> const in = random_elements<TypeParam>(n, 4, 6);
            Elements<TypeParam> const d_out = random_elements<TypeParam>(n, 5);
            std::vector<double> out, d_in;
            for (std::size_t i = 0; i < in.size(); ++i) {
                out.push_back(gate_value(widened(in[i]), form == Gelu::tanh ? Gate::gelu : Gate::gelu_erf));
                d_in.push_back(gate_slope(widened(in[i]), form == Gelu::tanh ? Gate::gelu : Gate::gelu_erf) *
                               widened(d_out[i]));
            }
            Elements<TypeParam> got(in.size());
            emulated().gelu_forward(view_of(got, {n}), view_of(in, {n}), form, emulated_stream());
            expect_elements(got, out, relative * 1e-3);
            got = d_out;
            emulated().gelu_backward(view_of(got, {n}), view_of(got, {n}), view_of(in, {n}), form, emulated_stream());
            expect_elements(got, d_in, relative + slope_error);
            got = in;
            emulated().gelu_backward(view_of(got, {n}), view_of(d_out, {n}), view_of(got, {n}), form,
                                     emulated_stream());
            expect_elements(got, d_in, relative + slope_error);
        }
}

TYPED_TEST(EmulatedActivation, LargeArgumentsStayFinite) {
    Floats const in = {-1e4F, -100, -89, 89, 100, 1e4F};
    Elements<TypeParam> const x = test::elements_of<TypeParam>(in);
    Elements<TypeParam> const ones = test::elements_of<TypeParam>(Floats(in.size(), 1.0F));
    Elements<TypeParam> out(in.size()), slope(in.size()), d_up(in.size());
    for (Gate const function : {Gate::silu, Gate::gelu, Gate::gelu_erf}) {
        emulated().gated_forward(view_of(out, {6}), view_of(x, {6}), view_of(ones, {6}), function, emulated_stream());
        emulated().gated_backward(view_of(slope, {6}), view_of(d_up, {6}), view_of(ones, {6}), view_of(x, {6}),
                                  view_of(ones, {6}), function, emulated_stream());
        for (std::size_t i = 0; i < in.size(); ++i) {
            EXPECT_NEAR(widened(out[i]), in[i] > 0 ? widened(x[i]) : 0, 1e-30);
            EXPECT_NEAR(widened(slope[i]), in[i] > 0 ? 1 : 0, 1e-30);
        }
    }
}

// Rows of a chunk in order, then chunks: with 512 rows at most every row is a chunk, behind that several are.
TYPED_TEST(EmulatedActivation, ColumnSums) {
    struct Sizes {
        std::int64_t rows, columns;
    };
    std::vector<Sizes> all{{0, 8}, {1, 1}, {3, 17}, {33, 24}};
    if constexpr (!test::tiny) all.insert(all.end(), {{9, 1025}, {513, 8}, {1500, 3}, {700, 40}});
    for (auto const [rows, n] : all) {
        Elements<TypeParam> const x = random_elements<TypeParam>(rows * n, 8);
        Floats sums = random_floats(n, 9);
        std::vector<double> wanted(sums.begin(), sums.end()), sizes(sums.size(), 1);
        for (std::size_t i = 0; i < x.size(); ++i) {
            wanted[i % wanted.size()] += widened(x[i]);
            sizes[i % wanted.size()] += std::abs(widened(x[i]));
        }
        emulated().add_column_sums(view(sums, {n}), view_of(x, {rows, n}), emulated_stream());
        // Of a chunk up to 3 rows, of a segment up to 64 chunks, 8 segments, and what was there.
        for (std::size_t i = 0; i < sums.size(); ++i)
            ASSERT_NEAR(sums[i], wanted[i], (3 + 64 + 8 + 1) * epsilon_f32 * sizes[i]) << rows << " " << n;
    }
}

TEST(EmulatedElementwise, AddFillAndConvert) {
    for (std::int64_t const n : sizes())
        for (std::size_t const shift : {0, 3}) {
            Floats const start = random_floats(n, 6, 1e3), from = random_floats(n, 7);
            Shifted<float> const to(start, shift);
            emulated().add_in_place(to.view(), view(from, {n}), emulated_stream());
            Floats const sum = to.values();
            for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(sum[i], start[i] + from[i]);
            Shifted<BFloat16> const narrow(Elements<BFloat16>(sum.size()), shift);
            emulated().convert(narrow.view(), view(sum, {n}), emulated_stream());
            Elements<BFloat16> const rounded = narrow.values();
            for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(rounded[i].bits, test::rounded(sum[i]).bits);
            emulated().convert(to.view(), narrow.view(), emulated_stream());
            EXPECT_EQ(to.values(), test::floats_of(rounded));
            if (n > 0) {  // three rows of them
                Shifted<float> const three(random_floats(3 * n, 8), shift);
                Floats const before = three.values();
                emulated().add_to_rows(three.view(), view(from, {n}), emulated_stream());
                Floats const after = three.values();
                for (std::size_t i = 0; i < after.size(); ++i) ASSERT_EQ(after[i], before[i] + from[i % from.size()]);
            }
            emulated().fill(to.view(), 2.5F, emulated_stream());
            EXPECT_EQ(to.values(), Floats(sum.size(), 2.5F));
        }
}

TEST(EmulatedElementwise, TensorsOfTwoTypesAreOurBug) {
    Floats const wide(8);
    Elements<BFloat16> const narrow(8);
    EXPECT_THROW(emulated().gelu_forward(view_of(narrow, {8}), view(wide, {8}), Gelu::tanh, emulated_stream()),
                 std::exception);
    EXPECT_THROW(emulated().add_in_place(view_of(narrow, {8}), view(wide, {8}), emulated_stream()), std::exception);
    EXPECT_THROW(emulated().convert(view(wide, {8}), view(wide, {8}), emulated_stream()), std::exception);
}

}  // namespace
}  // namespace selvage::kernels

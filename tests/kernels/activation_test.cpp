// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation.h"

#include <cmath>
#include <numbers>

#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
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
        double const rounding = epsilon_of<E> * (std::abs(wanted[i]) + error);
        ASSERT_LE(std::abs(widened(got[i]) - wanted[i]), error + rounding)
            << "element " << i << ": " << widened(got[i]) << " for " << wanted[i];
    }
}

constexpr std::int64_t sizes[] = {0, 1, 15, 16, 17, 1000, 40001};

template <class E>
class Activation : public testing::Test {
  protected:
    Stream stream{DeviceKind::cpu};
};
TYPED_TEST_SUITE(Activation, test::ElementTypes);

TYPED_TEST(Activation, GatedForwardAndBackward) {
    for (std::int64_t const n : sizes) {
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
            Elements<TypeParam> got(gate.size());
            gated_forward(view_of(got, {n}), view_of(gate, {n}), view_of(up, {n}), function, this->stream);
            expect_elements(got, out, relative * 1e-3);
            Elements<TypeParam> dg = gate;  // in place
            Elements<TypeParam> du = up;
            gated_backward(view_of(dg, {n}), view_of(du, {n}), view_of(d_out, {n}), view_of(dg, {n}), view_of(du, {n}),
                           function, this->stream);
            expect_elements(dg, d_gate, relative + slope_error);
            expect_elements(du, d_up, relative * 1e-3);
        }
    }
}

TYPED_TEST(Activation, GeluForwardAndBackward) {
    for (Gelu const form : {Gelu::tanh, Gelu::erf})
        for (std::int64_t const n : sizes) {
            Elements<TypeParam> const in = random_elements<TypeParam>(n, 4, 6);
            Elements<TypeParam> const d_out = random_elements<TypeParam>(n, 5);
            std::vector<double> out, d_in;
            for (std::size_t i = 0; i < in.size(); ++i) {
                out.push_back(gate_value(widened(in[i]), form == Gelu::tanh ? Gate::gelu : Gate::gelu_erf));
                d_in.push_back(gate_slope(widened(in[i]), form == Gelu::tanh ? Gate::gelu : Gate::gelu_erf) *
                               widened(d_out[i]));
            }
            Elements<TypeParam> got(in.size());
            gelu_forward(view_of(got, {n}), view_of(in, {n}), form, this->stream);
            expect_elements(got, out, relative * 1e-3);
            got = d_out;  // in place
            gelu_backward(view_of(got, {n}), view_of(got, {n}), view_of(in, {n}), form, this->stream);
            expect_elements(got, d_in, relative + slope_error);
        }
}

TYPED_TEST(Activation, SoftcapForwardAndBackward) {
    for (std::int64_t const n : sizes)
        for (float const cap : {0.5F, 30.0F}) {
            Floats x = random_floats(n, 6, 40);
            Elements<TypeParam> d = random_elements<TypeParam>(n, 7);
            std::vector<double> wanted, d_wanted;
            for (std::size_t i = 0; i < x.size(); ++i) {
                double const share = std::tanh(static_cast<double>(x[i]) / cap);
                wanted.push_back(cap * share);
                d_wanted.push_back(widened(d[i]) * (1 - share * share));
            }
            softcap_forward(view(x, {n}), cap, this->stream);
            expect_elements(x, wanted, 0);
            // The derivative is made of the result, whose error is of the size of 1 in units of the cap.
            softcap_backward(view_of(d, {n}), view(x, {n}), cap, this->stream);
            expect_elements(d, d_wanted, 10 * epsilon_f32);
        }
}

TYPED_TEST(Activation, LargeArgumentsStayFinite) {
    Floats const in = {-1e4F, -100, -89, 89, 100, 1e4F};
    Elements<TypeParam> const x = test::elements_of<TypeParam>(in);
    Elements<TypeParam> const ones = test::elements_of<TypeParam>(Floats(in.size(), 1.0F));
    Elements<TypeParam> out(in.size()), slope(in.size()), d_up(in.size());
    for (Gate const function : {Gate::silu, Gate::gelu, Gate::gelu_erf}) {
        gated_forward(view_of(out, {6}), view_of(x, {6}), view_of(ones, {6}), function, this->stream);
        gated_backward(view_of(slope, {6}), view_of(d_up, {6}), view_of(ones, {6}), view_of(x, {6}), view_of(ones, {6}),
                       function, this->stream);
        for (std::size_t i = 0; i < in.size(); ++i) {
            EXPECT_NEAR(widened(out[i]), in[i] > 0 ? widened(x[i]) : 0, 1e-30);
            EXPECT_NEAR(widened(slope[i]), in[i] > 0 ? 1 : 0, 1e-30);
        }
    }
}

// Sums of every column in row order: each is the fp32 chain itself, bit for bit.
TYPED_TEST(Activation, ColumnSums) {
    for (std::int64_t const n : {1, 15, 64, 100, 3001})
        for (std::int64_t const rows : {0, 1, 8, 9, 77}) {
            Elements<TypeParam> const x = random_elements<TypeParam>(rows * n, 8);
            Floats sums = random_floats(n, 9);
            Floats wanted = sums;
            for (std::size_t i = 0; i < x.size(); ++i) wanted[i % wanted.size()] += widened(x[i]);
            add_column_sums(view(sums, {n}), view_of(x, {rows, n}), this->stream);
            EXPECT_TRUE(test::same_bits(sums, wanted)) << rows << " " << n;
        }
}

TEST(Elementwise, Scale) {
    Stream stream(DeviceKind::cpu);
    for (std::int64_t const n : sizes) {
        Floats x = random_floats(n, 6), wanted = x;
        for (float& value : wanted) value *= 1.7F;
        scale_in_place(view(x, {n}), 1.7F, stream);
        EXPECT_TRUE(test::same_bits(x, wanted));
    }
}

TEST(Elementwise, AddAndFill) {
    Stream stream(DeviceKind::cpu);
    for (std::int64_t const n : sizes) {
        Floats to = random_floats(n, 6);
        Floats const from = random_floats(n, 7);
        Floats wanted = to;
        for (std::size_t i = 0; i < to.size(); ++i) wanted[i] += from[i];
        add_in_place(view(to, {n}), view(from, {n}), stream);
        EXPECT_EQ(to, wanted);
        fill(view(to, {n}), 2.5F, stream);
        EXPECT_EQ(to, Floats(to.size(), 2.5F));
    }
}

// Large enough to go past the caches, aligned and not, with a last part of a vector.
TEST(Elementwise, FillOfALargeTensor) {
    Stream stream(DeviceKind::cpu);
    std::int64_t const n = (std::int64_t{1} << 22) + 1029;
    Floats values(static_cast<std::size_t>(n) + 64, 1.0F);
    auto const address = reinterpret_cast<std::uintptr_t>(values.data());
    std::size_t const to_aligned = (64 - address % 64) % 64 / sizeof(float);
    for (std::size_t const first : {to_aligned, to_aligned + 1}) {
        std::fill(values.begin(), values.end(), 1.0F);
        fill(TensorView::of(values.data() + first, {n}), -3.0F, stream);
        for (std::size_t i = 0; i < values.size(); ++i)
            ASSERT_EQ(values[i], i >= first && i < first + static_cast<std::size_t>(n) ? -3.0F : 1.0F) << i;
    }
}

TEST(Elementwise, ConversionRoundsAndWidens) {
    Stream stream(DeviceKind::cpu);
    for (std::int64_t const n : sizes) {
        Floats const in = random_floats(n, 10, 1e3);
        Elements<BFloat16> narrow(in.size());
        convert(view_of(narrow, {n}), view(in, {n}), stream);
        for (std::size_t i = 0; i < in.size(); ++i)
            ASSERT_EQ(narrow[i].bits, test::nearest<BFloat16>(in[i]).bits) << in[i];
        Floats wide(in.size());
        convert(view(wide, {n}), view_of(narrow, {n}), stream);
        EXPECT_EQ(wide, test::floats_of(narrow));
    }
}

TEST(Elementwise, TensorsOfTwoTypesAreOurBug) {
    Stream stream(DeviceKind::cpu);
    Floats const wide(8);
    Elements<BFloat16> const narrow(8);
    EXPECT_THROW(gelu_forward(view_of(narrow, {8}), view(wide, {8}), Gelu::tanh, stream), std::exception);
    EXPECT_THROW(gated_forward(view(wide, {8}), view(wide, {8}), view_of(narrow, {8}), Gate::silu, stream),
                 std::exception);
    EXPECT_THROW(add_in_place(view_of(narrow, {8}), view(wide, {8}), stream), std::exception);
    EXPECT_THROW(convert(view(wide, {8}), view(wide, {8}), stream), std::exception);
}

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation.h"

#include <cmath>
#include <numbers>

#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::expect_near;
using test::Floats;
using test::random_floats;
using test::view;

double gate_value(double x, Gate function) {
    if (function == Gate::silu) return x / (1 + std::exp(-x));
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double gate_slope(double x, Gate function) {
    double const step = 1e-5;
    return (gate_value(x + step, function) - gate_value(x - step, function)) / (2 * step);
}

class Activation : public testing::TestWithParam<std::int64_t> {
  protected:
    Stream stream{DeviceKind::cpu};
};

// About ten roundings, one of them amplified by the argument of exp, which is below 64 here.
constexpr double relative = 80 * epsilon_f32;
constexpr double slope_error = 1e-9;  // of the finite difference

TEST_P(Activation, GatedForwardAndBackward) {
    std::int64_t const n = GetParam();
    Floats const gate = random_floats(n, 1, 6);
    Floats const up = random_floats(n, 2);
    Floats const d_out = random_floats(n, 3);
    for (Gate const function : {Gate::silu, Gate::gelu}) {
        std::vector<double> out, d_gate, d_up;
        for (std::size_t i = 0; i < gate.size(); ++i) {
            out.push_back(gate_value(gate[i], function) * up[i]);
            d_gate.push_back(gate_slope(gate[i], function) * up[i] * d_out[i]);
            d_up.push_back(gate_value(gate[i], function) * d_out[i]);
        }
        Floats got(gate.size());
        gated_forward(view(got, {n}), view(gate, {n}), view(up, {n}), function, stream);
        expect_near(got, out, relative * 1e-3, relative);
        Floats dg = gate;  // in place
        Floats du = up;
        gated_backward(view(dg, {n}), view(du, {n}), view(d_out, {n}), view(dg, {n}), view(du, {n}), function, stream);
        expect_near(dg, d_gate, relative + slope_error, relative);
        expect_near(du, d_up, relative * 1e-3, relative);
    }
}

TEST_P(Activation, GeluForwardAndBackward) {
    std::int64_t const n = GetParam();
    Floats const in = random_floats(n, 4, 6);
    Floats const d_out = random_floats(n, 5);
    std::vector<double> out, d_in;
    for (std::size_t i = 0; i < in.size(); ++i) {
        out.push_back(gate_value(in[i], Gate::gelu));
        d_in.push_back(gate_slope(in[i], Gate::gelu) * d_out[i]);
    }
    Floats got(in.size());
    gelu_forward(view(got, {n}), view(in, {n}), stream);
    expect_near(got, out, relative * 1e-3, relative);
    gelu_backward(view(got, {n}), view(d_out, {n}), view(in, {n}), stream);
    expect_near(got, d_in, relative + slope_error, relative);
}

TEST_P(Activation, AddAndFill) {
    std::int64_t const n = GetParam();
    Floats to = random_floats(n, 6);
    Floats const from = random_floats(n, 7);
    Floats wanted = to;
    for (std::size_t i = 0; i < to.size(); ++i) wanted[i] += from[i];
    add_in_place(view(to, {n}), view(from, {n}), stream);
    EXPECT_EQ(to, wanted);
    fill(view(to, {n}), 2.5F, stream);
    EXPECT_EQ(to, Floats(to.size(), 2.5F));
}

TEST(Activation, LargeArgumentsStayFinite) {
    Stream stream(DeviceKind::cpu);
    Floats const in = {-1e4F, -100, -89, 89, 100, 1e4F};
    Floats const ones(in.size(), 1.0F);
    Floats out(in.size()), slope(in.size()), d_up(in.size());
    for (Gate const function : {Gate::silu, Gate::gelu}) {
        gated_forward(view(out, {6}), view(in, {6}), view(ones, {6}), function, stream);
        gated_backward(view(slope, {6}), view(d_up, {6}), view(ones, {6}), view(in, {6}), view(ones, {6}), function,
                       stream);
        for (std::size_t i = 0; i < in.size(); ++i) {
            EXPECT_NEAR(out[i], in[i] > 0 ? in[i] : 0, 1e-30);
            EXPECT_NEAR(slope[i], in[i] > 0 ? 1 : 0, 1e-30);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Activation, testing::Values(0, 1, 15, 16, 17, 1000, 40001));

}  // namespace
}  // namespace selvage::kernels

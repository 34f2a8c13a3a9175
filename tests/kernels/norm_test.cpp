// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.h"

#include <cmath>
#include <functional>

#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::expect_near;
using test::Floats;
using test::random_floats;
using test::view;
using Doubles = std::vector<double>;

struct Plain {
    std::int64_t hidden;
    bool centred;  // layer norm
    double epsilon = 1e-5;
    Doubles forward(Doubles const& x, Doubles const& weight, Doubles const& bias) const {
        Doubles out(x.size());
        auto const n = static_cast<std::size_t>(hidden);
        for (std::size_t row = 0; row < x.size() / n; ++row) {
            double mean = 0, square = 0;
            if (centred)
                for (std::size_t i = 0; i < n; ++i) mean += x[row * n + i] / static_cast<double>(hidden);
            for (std::size_t i = 0; i < n; ++i)
                square += std::pow(x[row * n + i] - mean, 2) / static_cast<double>(hidden);
            for (std::size_t i = 0; i < n; ++i)
                out[row * n + i] = (x[row * n + i] - mean) / std::sqrt(square + epsilon) * weight[i] + bias[i];
        }
        return out;
    }
};

struct Sizes {
    std::int64_t rows, hidden;
};
class Norm : public testing::TestWithParam<Sizes> {};

// Gradient of sum(d_out * forward) by x[i].
void check_gradient(Floats const& got, Floats const& before, Doubles& x, std::function<double()> const& loss,
                    double tolerance) {
    double const step = 1e-5;
    for (std::size_t i = 0; i < x.size(); i += x.size() / 13 + 1) {
        double const kept = x[i];
        x[i] = kept + step;
        double const above = loss();
        x[i] = kept - step;
        double const below = loss();
        x[i] = kept;
        ASSERT_NEAR(got[i] - before[i], (above - below) / (2 * step), tolerance) << i;
    }
}

TEST_P(Norm, AgreesWithAPlainLoopAndFiniteDifferences) {
    auto const [rows, hidden] = GetParam();
    Stream stream(DeviceKind::cpu);
    Floats const in = random_floats(rows * hidden, 1, 2);
    Floats const weight = random_floats(hidden, 2);
    Floats const bias = random_floats(hidden, 3);
    Floats const d_out = random_floats(rows * hidden, 4);
    Shape const shape{rows, hidden};
    for (bool const centred : {false, true}) {
        Doubles x(in.begin(), in.end()), w(weight.begin(), weight.end());
        Doubles b = centred ? Doubles(bias.begin(), bias.end()) : Doubles(weight.size());
        Plain const plain{hidden, centred};
        Floats out(in.size()), mean(static_cast<std::size_t>(rows)), rstd(mean.size()), d_in(in.size());
        Floats const start = random_floats(hidden, 5);
        Floats d_weight = start, d_bias = start;
        if (centred) {
            layernorm_forward(view(out, shape), view(mean, {rows}), view(rstd, {rows}), {}, view(in, shape), {},
                              view(weight, {hidden}), view(bias, {hidden}), 1e-5F, stream);
            layernorm_backward(view(d_in, shape), {}, Accumulate::overwrite, view(d_weight, {hidden}),
                               view(d_bias, {hidden}), view(d_out, shape), view(in, shape), view(mean, {rows}),
                               view(rstd, {rows}), view(weight, {hidden}), stream);
        } else {
            rmsnorm_forward(view(out, shape), view(rstd, {rows}), {}, view(in, shape), {}, view(weight, {hidden}),
                            1e-5F, stream);
            rmsnorm_backward(view(d_in, shape), {}, Accumulate::overwrite, view(d_weight, {hidden}), view(d_out, shape),
                             view(in, shape), view(rstd, {rows}), view(weight, {hidden}), stream);
        }
        // Partial sums of hidden / 16 terms; an output is of size about 2.
        double const chain = static_cast<double>(hidden) / 16 + 16;
        // A row of one element is divided by next to nothing.
        double const size = hidden == 1 && centred ? 400 : 4;
        expect_near(out, plain.forward(x, w, b), size * chain * epsilon_f32);
        if (rows == 0 || hidden == 1) continue;
        auto const loss = [&] {
            Doubles const y = plain.forward(x, w, b);
            double sum = 0;
            for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * d_out[i];
            return sum;
        };
        double const numeric = 1e-7;  // third derivatives times the step squared
        check_gradient(d_in, Floats(in.size()), x, loss, 8 * chain * epsilon_f32 + numeric);
        double const column =
            4 * (static_cast<double>(rows) * 2 + chain) * epsilon_f32 * std::sqrt(static_cast<double>(rows));
        check_gradient(d_weight, start, w, loss, column + numeric);
        if (centred) check_gradient(d_bias, start, b, loss, column + numeric);
    }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Norm,
                         testing::Values(Sizes{0, 8}, Sizes{1, 1}, Sizes{3, 16}, Sizes{5, 17}, Sizes{40, 100},
                                         Sizes{7, 768}));

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.h"

#include <cmath>
#include <functional>

#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
using test::epsilon_f32;
using test::epsilon_of;
using test::expect_near;
using test::Floats;
using test::random_floats;
using test::same_bits;
using test::view;
using test::view_of;
using test::widened;
using Doubles = std::vector<double>;

enum class Kind : std::uint8_t { rmsnorm, layernorm };
constexpr Kind kinds[] = {Kind::rmsnorm, Kind::layernorm};

struct Plain {
    std::int64_t hidden;
    Kind kind;
    double epsilon = 1e-5;
    Doubles forward(Doubles const& x, Doubles const& weight, Doubles const& bias) const {
        Doubles out(x.size());
        auto const n = static_cast<std::size_t>(hidden);
        for (std::size_t row = 0; row < x.size() / n; ++row) {
            double mean = 0, square = 0;
            if (kind == Kind::layernorm)
                for (std::size_t i = 0; i < n; ++i) mean += x[row * n + i] / static_cast<double>(hidden);
            for (std::size_t i = 0; i < n; ++i)
                square += std::pow(x[row * n + i] - mean, 2) / static_cast<double>(hidden);
            for (std::size_t i = 0; i < n; ++i)
                out[row * n + i] = (x[row * n + i] - mean) / std::sqrt(square + epsilon) * weight[i] + bias[i];
        }
        return out;
    }
};

// A norm with its tensors; out of type E.
template <class E>
struct Case {
    Case(std::int64_t row_count, std::int64_t columns, Kind of)
        : kind(of),
          rows(row_count),
          hidden(columns),
          in(random_floats(rows * hidden, 1, 2)),
          weight(random_floats(hidden, 2)),
          bias(kind == Kind::layernorm ? random_floats(hidden, 3) : Floats(weight.size())),
          d_out(random_floats(rows * hidden, 4)),
          out(in.size()),
          mean(static_cast<std::size_t>(rows)),
          rstd(mean.size()) {}
    TensorView matrix(Floats const& x) const { return view(x, {rows, hidden}); }
    TensorView row(Floats const& x) const { return view(x, {hidden}); }

    void forward(TensorView sum, TensorView x, TensorView branch) {
        TensorView const to = view_of(out, {rows, hidden});
        if (kind == Kind::rmsnorm)
            rmsnorm_forward(to, view(rstd, {rows}), sum, x, branch, row(weight), 1e-5F, stream);
        else
            layernorm_forward(to, view(mean, {rows}), view(rstd, {rows}), sum, x, branch, row(weight), row(bias), 1e-5F,
                              stream);
    }
    void backward(Floats& d_in, TensorView d_in_compute, Accumulate accumulate, Floats& d_weight, Floats& d_bias) {
        if (kind == Kind::rmsnorm)
            rmsnorm_backward(matrix(d_in), d_in_compute, accumulate, row(d_weight), matrix(d_out), matrix(in),
                             view(rstd, {rows}), row(weight), stream);
        else
            layernorm_backward(matrix(d_in), d_in_compute, accumulate, row(d_weight), row(d_bias), matrix(d_out),
                               matrix(in), view(mean, {rows}), view(rstd, {rows}), row(weight), stream);
    }

    Stream stream{DeviceKind::cpu};
    Kind kind;
    std::int64_t rows, hidden;
    Floats in, weight, bias, d_out;
    Elements<E> out;
    Floats mean, rstd;
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

// fp32 sums of a row go in 16 partial ones.
double chain(std::int64_t hidden) { return static_cast<double>(hidden) / 16 + 16; }

template <class E>
void expect_forward(Case<E> const& norm) {
    Doubles const x(norm.in.begin(), norm.in.end());
    Doubles const wanted = Plain{norm.hidden, norm.kind}.forward(x, {norm.weight.begin(), norm.weight.end()},
                                                                 {norm.bias.begin(), norm.bias.end()});
    // An output is of size about 2; a row of one element is divided by next to nothing.
    double const size = norm.hidden == 1 && norm.kind == Kind::layernorm ? 400 : 4;
    double const arithmetic = size * chain(norm.hidden) * epsilon_f32;
    if constexpr (std::is_same_v<E, float>) return expect_near(norm.out, wanted, arithmetic);
    for (std::size_t i = 0; i < wanted.size(); ++i)
        ASSERT_NEAR(widened(norm.out[i]), wanted[i], arithmetic + epsilon_of<E> * (std::abs(wanted[i]) + arithmetic));
}

TEST_P(Norm, AgreesWithAPlainLoopAndFiniteDifferences) {
    auto const [rows, hidden] = GetParam();
    for (Kind const kind : kinds) {
        Case<float> norm(rows, hidden, kind);
        norm.forward({}, norm.matrix(norm.in), {});
        expect_forward(norm);
        Floats d_in(norm.in.size());
        Floats const start = random_floats(hidden, 5);
        Floats d_weight = start, d_bias = start;
        norm.backward(d_in, {}, Accumulate::overwrite, d_weight, d_bias);
        if (rows == 0 || hidden == 1) continue;
        Doubles x(norm.in.begin(), norm.in.end()), w(norm.weight.begin(), norm.weight.end()),
            b(norm.bias.begin(), norm.bias.end());
        auto const loss = [&] {
            Doubles const y = Plain{hidden, kind}.forward(x, w, b);
            double sum = 0;
            for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * norm.d_out[i];
            return sum;
        };
        double const numeric = 1e-7;  // third derivatives times the step squared
        check_gradient(d_in, Floats(d_in.size()), x, loss, 8 * chain(hidden) * epsilon_f32 + numeric);
        double const column =
            4 * (static_cast<double>(rows) * 2 + chain(hidden)) * epsilon_f32 * std::sqrt(static_cast<double>(rows));
        check_gradient(d_weight, start, w, loss, column + numeric);
        if (kind == Kind::layernorm) check_gradient(d_bias, start, b, loss, column + numeric);
    }
}

TEST_P(Norm, OutputsInBFloat16AreTheRoundedOnes) {
    auto const [rows, hidden] = GetParam();
    for (Kind const kind : kinds) {
        Case<float> wide(rows, hidden, kind);
        Case<BFloat16> narrow(rows, hidden, kind);
        wide.forward({}, wide.matrix(wide.in), {});
        narrow.forward({}, narrow.matrix(narrow.in), {});
        expect_forward(narrow);
        for (std::size_t i = 0; i < wide.out.size(); ++i)
            ASSERT_EQ(narrow.out[i].bits, test::nearest<BFloat16>(wide.out[i]).bits);
        EXPECT_TRUE(same_bits(wide.rstd, narrow.rstd));
        EXPECT_TRUE(same_bits(wide.mean, narrow.mean));
    }
}

// The sum is the fp32 one, and the norm that of the sum; where `in` or `branch` is the sum, too.
TEST_P(Norm, OfASumWithABranch) {
    auto const [rows, hidden] = GetParam();
    for (Kind const kind : kinds) {
        Floats const branch = random_floats(rows * hidden, 6);
        Case<BFloat16> norm(rows, hidden, kind);
        Case<BFloat16> wanted = norm;
        for (std::size_t i = 0; i < branch.size(); ++i) wanted.in[i] += branch[i];
        wanted.forward({}, wanted.matrix(wanted.in), {});
        Floats sum(branch.size()), in = norm.in, other = branch;
        struct Aliased {
            Floats& sum;
            Floats& in;
            Floats& branch;
        };
        Floats in_too = norm.in, branch_too = branch;
        for (Aliased const& a : {Aliased{sum, in, other}, Aliased{in, in, branch_too}, Aliased{other, in_too, other}}) {
            norm.forward(norm.matrix(a.sum), norm.matrix(a.in), norm.matrix(a.branch));
            EXPECT_TRUE(same_bits(a.sum, wanted.in));
            EXPECT_TRUE(same_bits(norm.rstd, wanted.rstd));
            EXPECT_EQ(test::floats_of(norm.out), test::floats_of(wanted.out));
        }
    }
}

// Weights that are kept less one.
TEST_P(Norm, AnOffsetIsAddedToTheWeight) {
    auto const [rows, hidden] = GetParam();
    Case<float> wanted(rows, hidden, Kind::rmsnorm);
    Floats const less = wanted.weight;
    for (float& w : wanted.weight) w += 1;
    Case<float> norm = wanted;
    wanted.forward({}, wanted.matrix(wanted.in), {});
    NormWeight const weight{norm.row(less), 1};
    rmsnorm_forward(norm.matrix(norm.out), view(norm.rstd, {rows}), {}, norm.matrix(norm.in), {}, weight, 1e-5F,
                    norm.stream);
    EXPECT_TRUE(same_bits(norm.out, wanted.out));
    Floats d_in(norm.in.size()), d_weight(less.size()), d_in_wanted = d_in, d_weight_wanted = d_weight, none;
    wanted.backward(d_in_wanted, {}, Accumulate::overwrite, d_weight_wanted, none);
    rmsnorm_backward(norm.matrix(d_in), {}, Accumulate::overwrite, norm.row(d_weight), norm.matrix(norm.d_out),
                     norm.matrix(norm.in), view(norm.rstd, {rows}), weight, norm.stream);
    EXPECT_TRUE(same_bits(d_in, d_in_wanted));
    EXPECT_TRUE(same_bits(d_weight, d_weight_wanted));
}

// Rows in bf16, as those of heads: what rows in f32 with the same numbers give, rounded.
TEST_P(Norm, OfRowsInBFloat16) {
    auto const [rows, hidden] = GetParam();
    if (rows == 0) return;
    Case<BFloat16> norm(rows, hidden, Kind::rmsnorm);
    Elements<BFloat16> const in = test::elements_of<BFloat16>(norm.in), d_out = test::elements_of<BFloat16>(norm.d_out);
    norm.in = test::floats_of(in);
    norm.d_out = test::floats_of(d_out);
    norm.forward({}, norm.matrix(norm.in), {});
    auto const matrix = [&](Elements<BFloat16> const& x) { return view_of(x, {rows, hidden}); };
    Elements<BFloat16> out(in.size()), d_in(in.size()), d_in_wanted(in.size());
    Floats rstd(norm.rstd.size()), d_in_wide(in.size()), d_weight(norm.weight.size()), d_weight_wanted = d_weight, none;
    rmsnorm_forward(matrix(out), view(rstd, {rows}), {}, matrix(in), {}, norm.row(norm.weight), 1e-5F, norm.stream);
    EXPECT_EQ(test::floats_of(out), test::floats_of(norm.out));
    EXPECT_TRUE(same_bits(rstd, norm.rstd));
    norm.backward(d_in_wide, matrix(d_in_wanted), Accumulate::overwrite, d_weight_wanted, none);
    rmsnorm_backward({}, matrix(d_in), Accumulate::overwrite, norm.row(d_weight), matrix(d_out), matrix(in),
                     view(rstd, {rows}), norm.row(norm.weight), norm.stream);
    EXPECT_EQ(test::floats_of(d_in), test::floats_of(d_in_wanted));
    EXPECT_TRUE(same_bits(d_weight, d_weight_wanted));
}

TEST_P(Norm, BackwardAddsAndCopies) {
    auto const [rows, hidden] = GetParam();
    for (Kind const kind : kinds) {
        Case<float> norm(rows, hidden, kind);
        norm.forward({}, norm.matrix(norm.in), {});
        Floats const start = random_floats(rows * hidden, 7);
        Floats d_in(start.size()), added = start, d_weight(norm.weight), d_bias(norm.bias), weight_too = d_weight,
                                   bias_too = d_bias;
        norm.backward(d_in, {}, Accumulate::overwrite, d_weight, d_bias);
        Elements<BFloat16> copy(start.size());
        norm.backward(added, view_of(copy, {rows, hidden}), Accumulate::add, weight_too, bias_too);
        for (std::size_t i = 0; i < start.size(); ++i) {
            ASSERT_EQ(added[i], start[i] + d_in[i]);
            ASSERT_EQ(copy[i].bits, test::nearest<BFloat16>(added[i]).bits);
        }
        EXPECT_TRUE(same_bits(d_weight, weight_too));
        EXPECT_TRUE(same_bits(d_bias, bias_too));
        norm.backward(added, view_of(copy, {rows, hidden}), Accumulate::overwrite, weight_too, bias_too);
        EXPECT_TRUE(same_bits(added, d_in));
        for (std::size_t i = 0; i < start.size(); ++i) ASSERT_EQ(copy[i].bits, test::nearest<BFloat16>(d_in[i]).bits);
    }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Norm,
                         testing::Values(Sizes{0, 8}, Sizes{1, 1}, Sizes{3, 16}, Sizes{5, 17}, Sizes{40, 100},
                                         Sizes{7, 768}));

TEST(Norm, ASumWithoutABranchIsOurBug) {
    Case<float> norm(2, 16, Kind::rmsnorm);
    Floats sum(32);
    EXPECT_THROW(norm.forward(norm.matrix(sum), norm.matrix(norm.in), {}), std::exception);
    EXPECT_THROW(norm.forward({}, norm.matrix(norm.in), norm.matrix(sum)), std::exception);
}

}  // namespace
}  // namespace selvage::kernels

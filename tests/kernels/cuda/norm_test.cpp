// SPDX-License-Identifier: Apache-2.0
#include <cmath>

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
using test::random_floats;
using test::same_bits;
using test::view;
using test::view_of;
using test::widened;

enum class Kind : std::uint8_t { rmsnorm, layernorm };
constexpr Kind kinds[] = {Kind::rmsnorm, Kind::layernorm};

struct Sizes {
    std::int64_t rows, hidden;
};

// A sum over a row: up to 32 elements in a thread, then a tree.
constexpr double row_sum = (32 + 10) * epsilon_f32;
// Over rows: up to 3 in a chunk, 64 chunks in a segment, 8 segments, and what was there.
constexpr double row_chain = (3 + 64 + 8 + 1) * epsilon_f32;

template <class E>
struct Case {
    Case(Sizes sizes, Kind of)
        : kind(of),
          rows(sizes.rows),
          hidden(sizes.hidden),
          in(random_floats(rows * hidden, 1, 2)),
          branch(random_floats(rows * hidden, 2)),
          weight(random_floats(hidden, 3)),
          bias(random_floats(hidden, 4)),
          d_out(random_floats(rows * hidden, 5)),
          sum(in.size(), NAN),
          mean(static_cast<std::size_t>(rows)),
          rstd(mean),
          out(in.size()) {}
    TensorView matrix(Floats const& x) const { return view(x, {rows, hidden}); }
    TensorView row(Floats const& x) const { return view(x, {hidden}); }
    TensorView each(Floats const& x) const { return view(x, {rows}); }

    void forward(TensorView to_sum, TensorView x, TensorView from_branch) {
        TensorView const to = view_of(out, {rows, hidden});
        if (kind == Kind::rmsnorm)
            emulated().rmsnorm_forward(to, each(rstd), to_sum, x, from_branch, row(weight), 1e-5F, emulated_stream());
        else
            emulated().layernorm_forward(to, each(mean), each(rstd), to_sum, x, from_branch, row(weight), row(bias),
                                         1e-5F, emulated_stream());
    }
    void backward(Floats& d_in, TensorView d_in_compute, Accumulate accumulate, Floats& d_weight, Floats& d_bias) {
        if (kind == Kind::rmsnorm)
            emulated().rmsnorm_backward(matrix(d_in), d_in_compute, accumulate, row(d_weight), matrix(d_out),
                                        matrix(in), each(rstd), row(weight), emulated_stream());
        else
            emulated().layernorm_backward(matrix(d_in), d_in_compute, accumulate, row(d_weight), row(d_bias),
                                          matrix(d_out), matrix(in), each(mean), each(rstd), row(weight),
                                          emulated_stream());
    }

    Kind kind;
    std::int64_t rows, hidden;
    Floats in, branch, weight, bias, d_out, sum, mean, rstd;
    Elements<E> out;
};

template <class E>
void check_forward(Sizes sizes, Kind kind, bool with_branch) {
    Case<E> norm(sizes, kind);
    if (with_branch)
        norm.forward(norm.matrix(norm.sum), norm.matrix(norm.in), norm.matrix(norm.branch));
    else
        norm.forward({}, norm.matrix(norm.in), {});
    auto const n = static_cast<std::size_t>(sizes.hidden);
    auto const count = static_cast<double>(sizes.hidden);
    for (std::size_t row = 0; row < norm.rstd.size(); ++row) {
        std::vector<double> x(n);
        double mean = 0, size = 0, squares = 0;
        for (std::size_t i = 0; i < n; ++i) {
            float const given = norm.in[row * n + i];
            x[i] = with_branch ? given + norm.branch[row * n + i] : given;
            ASSERT_EQ(with_branch ? norm.sum[row * n + i] : x[i], x[i]);
            if (kind == Kind::layernorm) mean += x[i] / count;
            size = std::max(size, std::abs(x[i]));
        }
        for (std::size_t i = 0; i < n; ++i) squares += std::pow(x[i] - mean, 2) / count;
        double const wanted_rstd = 1 / std::sqrt(squares + 1e-5);
        // Elements less the mean are off by what the mean is; a row of equal ones is divided by next to nothing.
        double const moved = kind == Kind::layernorm ? row_sum * size * wanted_rstd : 0;
        double const arithmetic = 4 * row_sum + 4 * moved;
        ASSERT_NEAR(norm.mean[row], mean, row_sum * size);
        ASSERT_NEAR(norm.rstd[row], wanted_rstd, arithmetic * wanted_rstd);
        for (std::size_t i = 0; i < n; ++i) {
            double const normal = (x[i] - mean) * wanted_rstd;
            double const wanted = normal * norm.weight[i] + (kind == Kind::layernorm ? norm.bias[i] : 0.0F);
            double const error = arithmetic * (std::abs(normal) + 1) * std::abs(norm.weight[i]) + 2 * epsilon_f32;
            double const rounding = std::is_same_v<E, float> ? 0 : epsilon_of<E> * (std::abs(wanted) + error);
            ASSERT_NEAR(widened(norm.out[row * n + i]), wanted, error + rounding) << row << ", " << i;
        }
    }
}

// The gradients by their formulas in double, from the mean and rstd that the forward pass kept.
template <class E>
void check_backward(Sizes sizes, Kind kind, Accumulate accumulate) {
    Case<E> norm(sizes, kind);
    norm.forward({}, norm.matrix(norm.in), {});
    bool const centered = kind == Kind::layernorm;
    Floats const start = random_floats(sizes.rows * sizes.hidden, 6), at_weight = random_floats(sizes.hidden, 7),
                 at_bias = random_floats(sizes.hidden, 8);
    Floats d_in = start, d_weight = at_weight, d_bias = at_bias;
    Elements<E> rounded(start.size());
    norm.backward(d_in, view_of(rounded, {sizes.rows, sizes.hidden}), accumulate, d_weight, d_bias);
    auto const n = static_cast<std::size_t>(sizes.hidden);
    auto const count = static_cast<double>(sizes.hidden);
    std::vector<double> weight(at_weight.begin(), at_weight.end()), bias(at_bias.begin(), at_bias.end());
    std::vector<double> weight_size(n, 1), bias_size(n, 1);
    for (std::size_t row = 0; row < norm.rstd.size(); ++row) {
        double const rstd = norm.rstd[row], mean = centered ? norm.mean[row] : 0.0F;
        auto const normal = [&](std::size_t i) { return (norm.in[row * n + i] - mean) * rstd; };
        auto const g = [&](std::size_t i) { return static_cast<double>(norm.d_out[row * n + i]) * norm.weight[i]; };
        double mean_g = 0, mean_product = 0, size = 0;
        for (std::size_t i = 0; i < n; ++i) {
            if (centered) mean_g += g(i) / count;
            mean_product += g(i) * normal(i) / count;
            size = std::max(size, (1 + std::abs(g(i))) * (1 + std::abs(normal(i))));
            double const d = norm.d_out[row * n + i];
            weight[i] += d * normal(i);
            weight_size[i] += std::abs(d) * (std::abs(normal(i)) + 4);
            bias[i] += d;
            bias_size[i] += std::abs(d);
        }
        for (std::size_t i = 0; i < n; ++i) {
            double const before = accumulate == Accumulate::add ? start[row * n + i] : 0;
            double const wanted = before + (g(i) - mean_g - normal(i) * mean_product) * rstd;
            float const got = d_in[row * n + i];
            double const error = 2 * row_sum * size * (1 + std::abs(normal(i))) * rstd + 2 * epsilon_f32;
            ASSERT_NEAR(got, wanted, error) << row << ", " << i;
            ASSERT_EQ(widened(rounded[row * n + i]), widened(test::nearest<E>(got)));
        }
    }
    for (std::size_t i = 0; i < n; ++i) {
        ASSERT_NEAR(d_weight[i], weight[i], row_chain * weight_size[i]) << i;
        ASSERT_NEAR(d_bias[i], centered ? bias[i] : at_bias[i], row_chain * bias_size[i]) << i;
    }
}

// One warp and many, a whole vector and single elements, more than four vectors of a thread.
std::vector<Sizes> all_sizes() {
    std::vector<Sizes> all{{0, 8}, {3, 4}, {2, 17}, {2, 132}, {1, 516}};
    if constexpr (!test::tiny) all.insert(all.end(), {{33, 1}, {33, 3}, {7, 768}, {3, 1000}, {2, 1025}, {1, 4096}});
    return all;
}

TEST(EmulatedNorm, ForwardAgreesWithAPlainLoop) {
    std::vector<Sizes> all = all_sizes();
    if constexpr (!test::tiny) all.push_back({1, 16388});
    for (Sizes const sizes : all)
        for (Kind const kind : kinds)
            for (bool const with_branch : {false, true}) {
                check_forward<float>(sizes, kind, with_branch);
                check_forward<BFloat16>(sizes, kind, with_branch);
            }
}

TEST(EmulatedNorm, BackwardAgreesWithAPlainLoop) {
    std::vector<Sizes> all = all_sizes();
    if constexpr (!test::tiny) all.insert(all.end(), {{1100, 3}, {2, 2049}, {3, 8196}});
    for (Sizes const sizes : all)
        for (Kind const kind : kinds) {
            check_backward<float>(sizes, kind, Accumulate::overwrite);
            check_backward<BFloat16>(sizes, kind, Accumulate::add);
        }
    check_backward<float>({514, 131}, Kind::rmsnorm, Accumulate::add);  // chunks of two rows, blocks of two warps
}

// Where `in` or `branch` is the sum, too.
TEST(EmulatedNorm, TheSumMayBeEitherOfItsParts) {
    for (Kind const kind : kinds) {
        Case<float> norm({3, 20}, kind), in_place({3, 20}, kind), onto_branch({3, 20}, kind);
        norm.forward(norm.matrix(norm.sum), norm.matrix(norm.in), norm.matrix(norm.branch));
        in_place.forward(norm.matrix(in_place.in), norm.matrix(in_place.in), norm.matrix(norm.branch));
        onto_branch.forward(norm.matrix(onto_branch.branch), norm.matrix(norm.in), norm.matrix(onto_branch.branch));
        EXPECT_TRUE(same_bits(in_place.in, norm.sum));
        EXPECT_TRUE(same_bits(onto_branch.branch, norm.sum));
        EXPECT_TRUE(same_bits(in_place.out, norm.out));
        EXPECT_TRUE(same_bits(onto_branch.out, norm.out));
    }
}

TEST(EmulatedNorm, RowsDoNotDependOnTheBatch) {
    std::int64_t const rows = 5;
    for (std::int64_t const hidden : {132, 17})
        for (Kind const kind : kinds) {
            Case<float> all({rows, hidden}, kind), one({1, hidden}, kind);
            auto const n = static_cast<std::size_t>(hidden);
            for (Floats Case<float>::*part : {&Case<float>::in, &Case<float>::d_out})
                std::copy_n((all.*part).begin() + 3 * hidden, hidden, (one.*part).begin());
            all.forward({}, all.matrix(all.in), {});
            one.forward({}, one.matrix(one.in), {});
            EXPECT_TRUE(same_bits(one.out.data(), all.out.data() + 3 * n, n));
            Floats d_all(all.in.size()), d_one(n), weight(n), bias(n);
            all.backward(d_all, {}, Accumulate::overwrite, weight, bias);
            one.backward(d_one, {}, Accumulate::overwrite, weight, bias);
            EXPECT_TRUE(same_bits(d_one.data(), d_all.data() + 3 * n, n));
        }
}

}  // namespace
}  // namespace selvage::kernels

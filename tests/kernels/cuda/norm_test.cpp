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
using test::view;
using test::view_of;
using test::widened;

struct Sizes {
    std::int64_t rows, hidden;
};

template <class E>
void check_rmsnorm(Sizes sizes, bool with_branch) {
    auto const [rows, hidden] = sizes;
    Floats const in = random_floats(rows * hidden, 1, 2), branch = random_floats(rows * hidden, 2),
                 weight = random_floats(hidden, 3);
    Floats sum(in.size(), NAN), rstd(static_cast<std::size_t>(rows), NAN);
    Elements<E> out(in.size());
    Shape const shape{rows, hidden};
    emulated().rmsnorm_forward(view_of(out, shape), view(rstd, {rows}), with_branch ? view(sum, shape) : TensorView{},
                               view(in, shape), with_branch ? view(branch, shape) : TensorView{},
                               view(weight, {hidden}), 1e-5F, emulated_stream());
    auto const n = static_cast<std::size_t>(hidden);
    // Sums of up to 32 elements in a thread, then a tree.
    double const arithmetic = 4 * (32 + 10) * epsilon_f32;
    for (std::size_t row = 0; row < rstd.size(); ++row) {
        double squares = 0;
        std::vector<double> x(n);
        for (std::size_t i = 0; i < n; ++i) {
            float const given = in[row * n + i];
            float const added = with_branch ? given + branch[row * n + i] : given;
            ASSERT_EQ(with_branch ? sum[row * n + i] : added, added);
            x[i] = added;
            squares += x[i] * x[i] / static_cast<double>(hidden);
        }
        double const wanted_rstd = 1 / std::sqrt(squares + 1e-5);
        ASSERT_NEAR(rstd[row], wanted_rstd, arithmetic * wanted_rstd);
        for (std::size_t i = 0; i < n; ++i) {
            double const wanted = x[i] * wanted_rstd * weight[i];
            double const rounding = sizeof(E) == sizeof(float) ? 0 : epsilon_of<E>;
            ASSERT_NEAR(widened(out[row * n + i]), wanted, (arithmetic + rounding) * (std::abs(wanted) + 1e-30))
                << row << ", " << i;
        }
    }
}

TEST(EmulatedNorm, RmsnormAgreesWithAPlainLoop) {
    // One warp and many, a whole vector and single elements, more than four vectors of a thread.
    std::vector<Sizes> all{{0, 8}, {3, 4}, {2, 17}, {2, 132}, {1, 516}};
    if constexpr (!test::tiny) all.insert(all.end(), {{7, 768}, {3, 1001}, {2, 4096}, {1, 16388}});
    for (Sizes const sizes : all)
        for (bool const with_branch : {false, true}) {
            check_rmsnorm<float>(sizes, with_branch);
            check_rmsnorm<BFloat16>(sizes, with_branch);
        }
}

TEST(EmulatedNorm, RowsDoNotDependOnTheBatch) {
    std::int64_t const hidden = 132;
    Floats const in = random_floats(5 * hidden, 1), weight = random_floats(hidden, 2);
    Floats all(in.size()), one(static_cast<std::size_t>(hidden));
    auto const norm = [&](TensorView out, TensorView x) {
        emulated().rmsnorm_forward(out, {}, {}, x, {}, view(weight, {hidden}), 1e-5F, emulated_stream());
    };
    norm(view(all, {5, hidden}), view(in, {5, hidden}));
    norm(view(one, {1, hidden}), view(in, {5, hidden}).rows(3, 4));
    EXPECT_TRUE(test::same_bits(one.data(), all.data() + 3 * hidden, one.size()));
}

}  // namespace
}  // namespace selvage::kernels

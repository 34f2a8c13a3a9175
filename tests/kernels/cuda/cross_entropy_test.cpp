// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "kernels/cuda/emulated.h"
#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
using test::emulated;
using test::emulated_stream;
using test::epsilon_f32;
using test::Floats;
using test::random_floats;
using test::view;
using test::view_of;
using test::widened;

template <class E>
class EmulatedCrossEntropy : public testing::Test {};
TYPED_TEST_SUITE(EmulatedCrossEntropy, test::ElementTypes);

constexpr std::int64_t rows = 4;
std::vector<std::int32_t> targets_in(std::int64_t n) {
    auto const last = static_cast<std::int32_t>(n - 1);
    return {0, last, last / 2, 0};
}
Floats const weights = {1, 0.5F, 2, 0};

template <class E>
Elements<E> gradient_of(Floats const& logits, Floats const& sums, std::int64_t n) {
    Elements<E> gradient(logits.size());
    emulated().cross_entropy_backward(view_of(gradient, {rows, n}), view(logits, {rows, n}), view(sums, {rows}),
                                      view(targets_in(n)), view(weights, {rows}), emulated_stream());
    return gradient;
}

TYPED_TEST(EmulatedCrossEntropy, GradientOfTheLogits) {
    std::vector<std::int64_t> vocabularies{1, 3, 8, 17};
    if constexpr (!test::tiny) vocabularies.insert(vocabularies.end(), {1000, 1025, 5008});
    for (std::int64_t const n : vocabularies) {
        Floats logits = random_floats(rows * n, 1, 12);
        auto const row_of = [n](std::size_t i) { return i / static_cast<std::size_t>(n); };
        std::vector<double> exact(rows);
        for (std::size_t i = 0; i < logits.size(); ++i) exact[row_of(i)] += std::exp(double{logits[i]});
        for (double& sum : exact) sum = std::log(sum);
        for (std::size_t i = 0; i < logits.size(); ++i)
            if (weights[row_of(i)] == 0) logits[i] = std::numeric_limits<float>::quiet_NaN();  // not to be looked at
        std::vector<std::int32_t> const targets = targets_in(n);
        auto const gradient = gradient_of<TypeParam>(logits, Floats(exact.begin(), exact.end()), n);
        for (std::size_t i = 0; i < logits.size(); ++i) {
            std::size_t const row = row_of(i);
            bool const is_target = static_cast<std::int64_t>(i) % n == targets[row];
            double const p = weights[row] == 0 ? 0 : std::exp(logits[i] - exact[row]);
            double const wanted = (p - (is_target ? 1 : 0)) * weights[row];
            // The sum is rounded (below 32), so is the difference (below 32); exp has 2 ulp, then two operations. The
            // result is rounded to its type.
            double const error = (p * (32 + 32 + 4) + 2) * epsilon_f32 * weights[row];
            double const rounding = test::epsilon_of<TypeParam> * (std::abs(wanted) + error);
            ASSERT_NEAR(widened(gradient[i]), wanted, error + rounding) << n << " " << i;
        }
    }
}

TEST(EmulatedCrossEntropy, InPlaceIsTheSame) {
    for (std::int64_t const n : {24, 103}) {
        Floats logits = random_floats(rows * n, 2, 12);
        Floats const sums(rows, 20.0F);
        Floats const gradient = gradient_of<float>(logits, sums, n);
        emulated().cross_entropy_backward(view(logits, {rows, n}), view(logits, {rows, n}), view(sums, {rows}),
                                          view(targets_in(n)), view(weights, {rows}), emulated_stream());
        EXPECT_TRUE(test::same_bits(gradient, logits));
    }
}

TEST(EmulatedCrossEntropy, RowsDoNotDependOnTheBatch) {
    std::int64_t const n = 24;
    Floats const logits = random_floats(rows * n, 2, 12), sums(rows, 20.0F);
    Floats const all = gradient_of<float>(logits, sums, n);
    Floats one(static_cast<std::size_t>(n));
    emulated().cross_entropy_backward(view(one, {1, n}), view(logits, {rows, n}).rows(2, 3),
                                      view(sums, {rows}).rows(2, 3), view(targets_in(n)).rows(2, 3),
                                      view(weights, {rows}).rows(2, 3), emulated_stream());
    EXPECT_TRUE(test::same_bits(one.data(), all.data() + 2 * n, one.size()));
}

TEST(EmulatedCrossEntropy, OfNoRows) {
    TensorView const nothing = TensorView::of<float>(nullptr, {0});
    TensorView const logits = TensorView::of<float>(nullptr, {0, 8});
    emulated().cross_entropy_backward(logits, logits, nothing, TensorView::of<std::int32_t>(nullptr, {0}), nothing,
                                      emulated_stream());
}

}  // namespace
}  // namespace selvage::kernels

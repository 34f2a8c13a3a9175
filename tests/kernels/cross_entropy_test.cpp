// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy.h"

#include <cmath>

#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
using test::epsilon_f32;
using test::Floats;
using test::random_floats;
using test::view;

template <class E>
class CrossEntropy : public testing::Test {};
TYPED_TEST_SUITE(CrossEntropy, test::ElementTypes);

constexpr std::int64_t rows = 4;
std::vector<std::int32_t> targets_in(std::int64_t n) {
    auto const last = static_cast<std::int32_t>(n - 1);
    return {0, last, last / 2, 0};
}
Floats const weights = {1, 0.5F, 2, 0};

// log-sum-exp in double; rounded to float it is what the kernel is given.
std::vector<double> exact_sums(Floats const& logits, std::int64_t n) {
    std::vector<double> sums(rows);
    for (std::size_t i = 0; i < logits.size(); ++i)
        sums[i / static_cast<std::size_t>(n)] += std::exp(double{logits[i]});
    for (double& sum : sums) sum = std::log(sum);
    return sums;
}

TYPED_TEST(CrossEntropy, GradientOfTheLogits) {
    Stream stream(DeviceKind::cpu);
    for (std::int64_t const n : {1, 7, 16, 1000, 1025, 5003}) {
        Floats const logits = random_floats(rows * n, 1, 12);
        std::vector<double> const exact = exact_sums(logits, n);
        Floats const sums(exact.begin(), exact.end());
        std::vector<std::int32_t> const targets = targets_in(n);
        Elements<TypeParam> gradient(logits.size());
        cross_entropy_backward(test::view_of(gradient, {rows, n}), view(logits, {rows, n}), view(sums, {rows}),
                               view(targets), view(weights, {rows}), stream);
        for (std::size_t i = 0; i < logits.size(); ++i) {
            std::size_t const row = i / static_cast<std::size_t>(n);
            bool const is_target = static_cast<std::int64_t>(i) % n == targets[row];
            double const p = std::exp(logits[i] - exact[row]);
            double const wanted = (p - (is_target ? 1 : 0)) * weights[row];
            // The sum is rounded (below 32), so is the difference (below 32); exp has 2 ulp, then two operations. The
            // result is rounded to its type.
            double const error = (p * (32 + 32 + 4) + 2) * epsilon_f32 * weights[row];
            double const rounding = test::epsilon_of<TypeParam> * (std::abs(wanted) + error);
            ASSERT_NEAR(test::widened(gradient[i]), wanted, error + rounding) << n << " " << i;
        }
    }
}

TEST(CrossEntropy, InPlaceIsTheSame) {
    Stream stream(DeviceKind::cpu);
    std::int64_t const n = 1003;
    Floats logits = random_floats(rows * n, 2, 12);
    Floats const sums(rows, 20.0F);
    std::vector<std::int32_t> const targets = targets_in(n);
    Floats gradient(logits.size());
    cross_entropy_backward(view(gradient, {rows, n}), view(logits, {rows, n}), view(sums, {rows}), view(targets),
                           view(weights, {rows}), stream);
    cross_entropy_backward(view(logits, {rows, n}), view(logits, {rows, n}), view(sums, {rows}), view(targets),
                           view(weights, {rows}), stream);
    EXPECT_TRUE(test::same_bits(gradient, logits));
}

TEST(CrossEntropy, ATargetOutsideTheVocabularyIsOurBug) {
    Stream stream(DeviceKind::cpu);
    Floats logits(10), sums(1);
    std::vector<std::int32_t> const targets = {10};
    EXPECT_THROW(cross_entropy_backward(view(logits, {1, 10}), view(logits, {1, 10}), view(sums, {1}), view(targets),
                                        view(sums, {1}), stream),
                 std::exception);
}

}  // namespace
}  // namespace selvage::kernels

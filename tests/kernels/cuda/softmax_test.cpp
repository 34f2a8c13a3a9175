// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cuda/emulated.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::emulated;
using test::emulated_stream;
using test::epsilon_f32;
using test::Floats;
using test::random_floats;
using test::view;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t rows = 4;

Floats sums_of(TensorView logits) {
    Floats total(static_cast<std::size_t>(logits.dim(0)), -7);
    emulated().log_sum_exp(view(total, {logits.dim(0)}), logits, emulated_stream());
    return total;
}
std::vector<std::int32_t> best_of(TensorView logits, std::int64_t ids) {
    std::vector<std::int32_t> best(static_cast<std::size_t>(logits.dim(0)), -7);
    emulated().argmax(view(best), logits, ids, emulated_stream());
    return best;
}

class EmulatedSoftmax : public testing::TestWithParam<std::int64_t> {
  protected:
    std::int64_t n = GetParam();
    Floats logits = random_floats(rows * n, 1, 12);
    TensorView matrix(Floats const& x) const { return view(x, {rows, n}); }
};

TEST_P(EmulatedSoftmax, LogSumExpAndTargets) {
    Floats const total = sums_of(matrix(logits));
    std::vector<std::int32_t> const targets = {0, static_cast<std::int32_t>(n - 1), static_cast<std::int32_t>(n / 2),
                                               static_cast<std::int32_t>(n)};
    Floats log_probability(rows);
    emulated().target_log_probability(view(log_probability, {rows}), matrix(logits), view(total, {rows}), view(targets),
                                      emulated_stream());
    for (std::size_t row = 0; row < rows; ++row) {
        float const* const x = logits.data() + static_cast<std::int64_t>(row) * n;
        double sum = 0;
        for (std::int64_t i = 0; i < n; ++i) sum += std::exp(double{x[i]});
        // The log's error is the sum's relative one: a lane's chains (8), trees, the difference that exp gets (below
        // 32). The logarithm is below 32 in size.
        ASSERT_NEAR(total[row], std::log(sum), (8 + 7 + 32 + 8 + 32) * epsilon_f32);
        if (row < 3)
            ASSERT_EQ(log_probability[row], x[targets[row]] - total[row]);
        else
            ASSERT_TRUE(std::isnan(log_probability[row]));  // no id
    }
}

TEST_P(EmulatedSoftmax, RowsDoNotDependOnTheBatchNorOnTheirPlace) {
    Floats const all = sums_of(matrix(logits));
    Floats moved(static_cast<std::size_t>(n) + 1);  // where vectors do not fit
    for (std::int64_t row = 0; row < rows; ++row) {
        Floats const one = sums_of(matrix(logits).rows(row, row + 1));
        EXPECT_TRUE(test::same_bits(one.data(), &all[static_cast<std::size_t>(row)], 1));
        std::copy_n(logits.begin() + row * n, n, moved.begin() + 1);
        EXPECT_EQ(sums_of(TensorView::of(moved.data() + 1, {1, n})), one);
    }
}

TEST_P(EmulatedSoftmax, ArgmaxTakesTheLowestOfEqualLogits) {
    auto const largest = [&](Floats const& x, std::int64_t row, std::int64_t ids) {
        auto const first = x.begin() + row * n;
        return static_cast<std::int32_t>(std::max_element(first, first + ids) - first);
    };
    for (std::int64_t const ids : {n, (n + 1) / 2}) {
        Floats x = logits;
        for (std::int64_t row = 0; row < rows; ++row)  // what is behind the ids plays no part
            std::fill(x.begin() + row * n + ids, x.begin() + (row + 1) * n, 500.0F);
        std::vector<std::int32_t> const best = best_of(matrix(x), ids);
        for (std::int64_t row = 0; row < rows; ++row)
            EXPECT_EQ(best[static_cast<std::size_t>(row)], largest(x, row, ids));
        for (float& value : x) value = std::floor(value / 12);  // few values, so that many are equal
        std::vector<std::int32_t> const lowest = best_of(matrix(x), ids);
        for (std::int64_t row = 0; row < rows; ++row)
            EXPECT_EQ(lowest[static_cast<std::size_t>(row)], largest(x, row, ids));
    }
    EXPECT_EQ(best_of(matrix(Floats(logits.size(), -infinity)), n), std::vector<std::int32_t>(rows, 0));
}

std::vector<std::int64_t> vocabularies() {
    if constexpr (test::tiny) return {1, 17, 1025};
    return {1, 3, 17, 1000, 1024, 1025, 40 * 1024 + 12};
}
INSTANTIATE_TEST_SUITE_P(Vocabularies, EmulatedSoftmax, testing::ValuesIn(vocabularies()));

TEST(EmulatedSoftmax, OfNoRows) {
    EXPECT_TRUE(sums_of(TensorView::of<float>(nullptr, {0, 5})).empty());
    EXPECT_TRUE(best_of(TensorView::of<float>(nullptr, {0, 5}), 5).empty());
}

TEST(EmulatedSoftmax, MaskedLogitsAndNotNumbers) {
    std::int64_t const n = 2500;
    Floats logits(static_cast<std::size_t>(n), -infinity);
    EXPECT_EQ(sums_of(view(logits, {1, n}))[0], -infinity);
    logits[2000] = 1.5F;
    EXPECT_EQ(sums_of(view(logits, {1, n}))[0], 1.5F);
    EXPECT_EQ(best_of(view(logits, {1, n}), n)[0], 2000);
    for (std::size_t const place : {0, 700, 2001}) {
        Floats spoilt = logits;
        spoilt[place] = std::numeric_limits<float>::quiet_NaN();
        EXPECT_TRUE(std::isnan(sums_of(view(spoilt, {1, n}))[0])) << place;
    }
}

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "train/outliers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace selvage {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(Outliers, LimitsAreTimesTheMedianOfAFullWindow) {
    OutlierGuard guard({OnOutlier::skip, 2.5, 3, 10});
    guard.add(4, 10, false);
    guard.add(2, 30, false);
    EXPECT_EQ(guard.limits().loss, infinity);
    EXPECT_EQ(guard.limits().grad_norm, infinity);
    guard.add(8, 20, false);
    EXPECT_EQ(guard.limits().loss, 10);
    EXPECT_EQ(guard.limits().grad_norm, 50);
    guard.add(8, 20, false);  // 4 and 10 leave the window
    EXPECT_EQ(guard.limits().loss, 20);
    EXPECT_EQ(guard.limits().grad_norm, 50);
}

TEST(Outliers, SkippedStepsCountInARowAndNotInTheMedian) {
    OutlierGuard guard({OnOutlier::skip, 2, 1, 10});
    guard.add(4, 10, false);
    guard.add(100, 10, true);
    guard.add(std::nan(""), infinity, true);
    EXPECT_EQ(guard.skipped_in_a_row(), 2);
    EXPECT_EQ(guard.limits().loss, 8);
    guard.add(5, 10, false);
    EXPECT_EQ(guard.skipped_in_a_row(), 0);
    EXPECT_EQ(guard.limits().loss, 10);
}

TEST(Outliers, WithoutAFactorOnlyNumbersThatAreNotFiniteAreOutliers) {
    OutlierGuard guard({OnOutlier::stop, 0, 1, 10});
    guard.add(4, 10, false);
    EXPECT_EQ(guard.limits().loss, infinity);
}

}  // namespace
}  // namespace selvage

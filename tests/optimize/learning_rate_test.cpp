// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "optimize/options.h"

namespace selvage {
namespace {

OptimizerOptions options(LearningRateSchedule schedule, std::int64_t warmup) {
    OptimizerOptions out;
    out.learning_rate = 2.0;
    out.warmup_steps = warmup;
    out.schedule = schedule;
    out.minimum_rate = 0.1;
    return out;
}

TEST(LearningRate, WarmupIsLinearFromZero) {
    auto const with = options(LearningRateSchedule::constant, 4);
    for (std::int64_t step = 1; step <= 4; ++step)
        EXPECT_DOUBLE_EQ(learning_rate_at(with, step, 100), 2.0 * static_cast<double>(step) / 4);
    EXPECT_DOUBLE_EQ(learning_rate_at(with, 5, 100), 2.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(options(LearningRateSchedule::constant, 0), 1, 100), 2.0);
}

TEST(LearningRate, SchedulesEndAtTheMinimum) {
    auto const linear = options(LearningRateSchedule::linear, 20);
    EXPECT_DOUBLE_EQ(learning_rate_at(linear, 20, 120), 2.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(linear, 70, 120), 2.0 * 0.55);
    EXPECT_DOUBLE_EQ(learning_rate_at(linear, 120, 120), 0.2);
    auto const cosine = options(LearningRateSchedule::cosine, 20);
    EXPECT_NEAR(learning_rate_at(cosine, 45, 120), 2.0 * (0.1 + 0.9 * 0.8535533905932737), 1e-14);
    EXPECT_NEAR(learning_rate_at(cosine, 70, 120), 2.0 * 0.55, 1e-14);
    EXPECT_NEAR(learning_rate_at(cosine, 120, 120), 0.2, 1e-14);
    // Rounds were added after the schedule's end: the rate stays where it was.
    EXPECT_NEAR(learning_rate_at(cosine, 500, 120), 0.2, 1e-14);
    EXPECT_DOUBLE_EQ(learning_rate_at(linear, 500, 120), 0.2);
}

TEST(LearningRate, WarmupLongerThanTheRunIsClamped) {
    auto const with = options(LearningRateSchedule::cosine, 50);
    EXPECT_DOUBLE_EQ(learning_rate_at(with, 5, 10), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(with, 10, 10), 2.0);
    EXPECT_NEAR(learning_rate_at(with, 11, 10), 0.2, 1e-14);
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace selvage {

enum class LearningRateSchedule : std::uint8_t { constant, linear, cosine };

struct OptimizerOptions {
    double learning_rate = 3e-4;
    std::int64_t warmup_steps = 20;
    LearningRateSchedule schedule = LearningRateSchedule::cosine;
    double minimum_rate = 0.1;  // of learning_rate, where linear and cosine end
    double weight_decay = 0.1;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double clip = 1.0;  // largest global gradient norm; 0: no clipping
};

// The rate of a step (from 1) of `total_steps` (schedules go by run.schedule_rounds). Warm-up is linear from 0.
double learning_rate_at(OptimizerOptions const& options, std::int64_t step, std::int64_t total_steps);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numbers>

#include "optimize/options.h"

namespace selvage {

double learning_rate_at(OptimizerOptions const& options, std::int64_t step, std::int64_t total_steps) {
    std::int64_t const warmup = std::min(options.warmup_steps, total_steps);
    if (step <= warmup) return options.learning_rate * static_cast<double>(step) / static_cast<double>(warmup);
    double const progress =
        total_steps <= warmup
            ? 1
            : std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(total_steps - warmup));
    double share = 1;  // of the way from minimum_rate up to 1
    switch (options.schedule) {
        case LearningRateSchedule::constant:
            break;
        case LearningRateSchedule::linear:
            share = 1 - progress;
            break;
        case LearningRateSchedule::cosine:
            share = 0.5 * (1 + std::cos(std::numbers::pi * progress));
            break;
    }
    return options.learning_rate * (options.minimum_rate + (1 - options.minimum_rate) * share);
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "train/outliers.h"

#include <algorithm>
#include <vector>

namespace selvage {
namespace {

double median_of(std::deque<double> const& values) {
    std::vector<double> sorted(values.begin(), values.end());
    auto const middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
}

}  // namespace

StepLimits OutlierGuard::limits() const {
    if (options_.factor <= 0 || static_cast<std::int64_t>(losses_.size()) < options_.window) return {};
    return {options_.factor * median_of(losses_), options_.factor * median_of(norms_)};
}

void OutlierGuard::add(double loss, double grad_norm, bool skipped) {
    skipped_in_a_row_ = skipped ? skipped_in_a_row_ + 1 : 0;
    if (skipped) return;
    losses_.push_back(loss);
    norms_.push_back(grad_norm);
    if (static_cast<std::int64_t>(losses_.size()) <= options_.window) return;
    losses_.pop_front();
    norms_.pop_front();
}

}  // namespace selvage

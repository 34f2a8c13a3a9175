// SPDX-License-Identifier: Apache-2.0
#pragma once
// Steps that should not reach the weights: a loss or gradient norm that is not finite, or far above those before it.
#include <cstdint>
#include <deque>

#include "train/trainer.h"

namespace selvage {

enum class OnOutlier : std::uint8_t { stop, skip };

struct OutlierOptions {
    OnOutlier on_outlier = OnOutlier::stop;
    double factor = 0;           // of the median that a loss or norm may reach; 0: any that is finite
    std::int64_t window = 64;    // steps that the median is of, when there are so many
    std::int64_t patience = 10;  // steps skipped in a row, after which the run stops all the same
};

// Knows the steps of the run so far. The same on all ranks, as it sees the same numbers.
class OutlierGuard {
  public:
    explicit OutlierGuard(OutlierOptions const& options) : options_(options) {}
    // Of the next step: `factor` times the medians of the last `window` steps that were not skipped; infinity with
    // fewer steps.
    StepLimits limits() const;
    void add(double loss, double grad_norm, bool skipped);
    std::int64_t skipped_in_a_row() const { return skipped_in_a_row_; }

  private:
    OutlierOptions options_;
    std::deque<double> losses_, norms_;
    std::int64_t skipped_in_a_row_ = 0;
};

}  // namespace selvage

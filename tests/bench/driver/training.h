// SPDX-License-Identifier: Apache-2.0
#pragma once
// Optimizer steps on random tokens, as the program does them.
#include <cstdint>
#include <vector>

#include "driver/job.h"
#include "driver/options.h"
#include "train/trainer.h"

namespace selvage::bench {

class Training {
  public:
    // Collective, as step() is.
    Training(Job& job, Options const& options);
    void step() {
        ++plan_.step;
        loss_ = trainer_.step(rows_, plan_, total_steps).loss;
    }
    double loss() const { return loss_; }      // of the last step
    double tokens() const { return tokens_; }  // of a step

  private:
    static constexpr std::int64_t total_steps = 1000000;  // no end of the learning-rate schedule is near
    std::vector<Woven> rows_;
    StepPlan plan_;
    Trainer trainer_;
    double tokens_;
    double loss_ = 0;
};

}  // namespace selvage::bench

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Answers to random prompts, as the program generates them.
#include <cstdint>
#include <vector>

#include "driver/job.h"
#include "driver/options.h"
#include "generate/engine.h"

namespace selvage::bench {

class Generation {
  public:
    // Packs the model.
    Generation(Job& job, Options const& options);
    // An answer to every prompt of this rank, all of full length; returns the tokens drawn.
    std::int64_t sweep();

  private:
    std::vector<DraftRequest> requests_;
    std::int64_t tokens_;  // of a sweep
    Engine engine_;
    std::int64_t number_ = 0;
};

}  // namespace selvage::bench

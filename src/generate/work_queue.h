// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dynamic hand-out of items 0..count-1 to the ranks of an axis: rank 0 keeps the counter and answers by point-to-point
// messages, so it must call progress() often; the others ask ahead.
#include <cstdint>
#include <optional>

#include "comm/communicator.h"

namespace selvage {

class WorkQueue {
  public:
    // Collective. `ahead`: items a rank may hold without having started them (its streams, usually).
    WorkQueue(Communicator& axis, std::int64_t count, std::int64_t ahead);
    ~WorkQueue();
    // An item if one is here; nullopt may also mean "asked, not answered yet": see exhausted().
    std::optional<std::int64_t> next();
    bool exhausted();
    void progress();
    // Collective, after exhausted() everywhere: rank 0 serves until all have been told.
    void finish();

  private:
    Communicator& axis_;
    std::int64_t count_;
    std::int64_t ahead_;
    std::int64_t counter_ = 0;  // rank 0: next item to hand out
    std::int64_t told_ = 0;     // rank 0: ranks that were told there is nothing more
    std::int64_t first_ = 0;    // items first_ .. last_ - 1 are held here
    std::int64_t last_ = 0;
    bool asked_ = false;
    bool exhausted_ = false;
};

}  // namespace selvage

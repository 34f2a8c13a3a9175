// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>

#include "generate/work_queue.h"

namespace selvage {

// A WorkQueue for groups of ranks that compute every item together (a tensor axis): the first rank of a group asks, and
// all of them hear the same. Every call is collective over the group, beside what WorkQueue says.
class GroupQueue {
  public:
    // `group` nullptr: every rank for itself.
    GroupQueue(Communicator& data, Communicator* group, std::int64_t count, std::int64_t ahead);
    std::optional<std::int64_t> next();
    bool exhausted();
    // go_on false on any rank of the group stops everyone. Returns false once someone has stopped.
    bool progress(bool go_on = true);
    void finish();

  private:
    template <class Ask>
    std::int64_t heard(Ask const& ask);
    Communicator* group_;             // nullptr: of one rank
    std::optional<WorkQueue> queue_;  // of the first rank of the group
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Drafts by all ranks of an axis.
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "generate/engine.h"

namespace selvage {

struct DistributedWork {
    std::int64_t items = 0;
    std::function<DraftRequest(std::int64_t)> request;  // of an item
    std::function<std::optional<DraftRequest>(Draft const&)>
        follow_up;                               // optional: what a finished draft asks for next
    std::function<void(Draft const&)> finished;  // optional: every draft, on the ranks that made it
    std::function<bool(std::int64_t)> progress;  // drafts finished here so far; false stops all ranks
};
struct DistributedDrafts {
    std::vector<Draft> drafts;  // of this rank, in the order they were finished
    double busy_seconds = 0;    // until this rank had nothing more to do
};

// Hands items out dynamically and runs them on this rank's engine. Collective over `axis`. `group`: ranks that run
// every item together (see GroupQueue); each has the drafts.
DistributedDrafts run_distributed(Engine& engine, Communicator& axis, std::int64_t round, std::int64_t streams,
                                  DistributedWork const& work, Communicator* group = nullptr);

// By (example, sample, turn).
void sort_drafts(std::vector<Draft>& drafts);

// All ranks' drafts on rank 0 of `axis`, ordered by (example, sample, turn); elsewhere empty. Collective.
std::vector<Draft> gather_drafts(Communicator& axis, std::vector<Draft> const& mine);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "comm/process_grid.h"
#include "sweep/busy_ranks.h"
#include "sweep/draft_journal.h"
#include "sweep/options.h"

namespace selvage {

struct GenerationResult {
    std::vector<Draft> drafts;  // on rank 0, ordered by (example, sample, turn)
    std::int64_t tokens = 0;    // of all drafts, on rank 0
    bool stopped = false;       // `keep_going` said no on some rank: the drafts are not complete
    BusyRanks busy;             // on all ranks; of the time that the slowest one took
};

// Drafts of `examples` for a round with `method` (not none), over the ranks of the data axis: free drafts are handed
// out dynamically, forced ones split by their tokens. Those that the journal has are not made again, and those that are
// made go into it. Collective over data. The drafts do not depend on the ranks or streams. `after`: see Progress.
GenerationResult generation_sweep(Arena& arena, ProcessGrid const& grid, Model& model,
                                  std::span<Example const> examples, JobOptions const& options,
                                  weave::WeaveMethod method, std::int64_t round, std::int64_t schedule_rounds,
                                  SpecialTokens const& special, DraftJournal& journal, std::optional<double> after,
                                  std::function<bool()> const& keep_going);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The loop over rounds: evaluate, then for each round generate, weave, train, evaluate; checkpoints between.
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "comm/process_grid.h"
#include "io/run_log.h"
#include "sweep/corpora.h"
#include "sweep/options.h"

namespace selvage {

struct Job {
    JobOptions options;  // run.out and all paths absolute, run.schedule_rounds set
    std::string effective_deck;
    std::string lasting_deck;  // without the keys that may differ when a run goes on
    ModelConfig model;
    // Fills in the weights that the run starts from; collective. Empty: random weights.
    std::function<void(ParameterSet&)> initial_weights;
    io::FolderContents folder;           // that the model came from, for its checkpoints; on rank 0
    std::optional<io::Path> start_from;  // a checkpoint to go on from
    std::string batch_variance;          // for the run log: what precision.batch_invariant = false means here, or ""
};

enum class RunEnd : std::uint8_t { finished, stopped_early };

// Collective over all ranks of the grid. Errors: what the folders below throw; a loss that is not finite is bad_data.
RunEnd run_job(Arena& arena, ProcessGrid const& grid, io::IoThread& io, Job const& job, Corpora const& corpora);

}  // namespace selvage

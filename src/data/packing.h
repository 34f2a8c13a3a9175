// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which woven rows a training step sees, and how they are packed: a function of (woven file, seed, step) alone.
#include <cstdint>
#include <vector>

#include "io/files.h"

namespace selvage {

struct PackingOptions {
    std::int64_t batch_tokens = 8192;        // input tokens of a step
    std::int64_t micro_batch_tokens = 1024;  // tokens of one packed row; every woven row must fit
    std::int64_t lanes = 8;
};

// A packed row: woven rows one after the other, in the order of the walk, at most micro_batch_tokens tokens. It is one
// micro-batch.
struct PackedRow {
    std::vector<std::int64_t> indices;  // into the woven file
};
struct StepPlan {
    std::int64_t step = 0;                      // counted through the run, from 1
    std::vector<std::vector<PackedRow>> lanes;  // [lane][micro-batch]
};

// Plans of a round's steps: its first is first_step, always, also where a run resumes in the middle of a round (fewer
// steps give the same plans, only fewer). The walk goes through the woven file in seeded order, anew for each round,
// reshuffled when it ends. A step takes rows until the next would exceed batch_tokens (at least one). Its micro-batches
// are as few as hold the rows with the same number in every lane, and evenly filled; a small step leaves lanes empty.
// Errors (bad_data): a row longer than a micro-batch (says the row and the key to raise), no rows, lanes not a power of
// two.
std::vector<StepPlan> plan_steps(std::vector<std::int64_t> const& woven_lengths, PackingOptions const& options,
                                 std::uint64_t seed, std::int64_t round, std::int64_t first_step, std::int64_t steps);
// Use::row counts the packed rows of a step over its lanes in order, from 0; Use::offset is the token of the packed row
// that the woven row begins at.
std::vector<io::Use> uses_of(std::vector<StepPlan> const& plans, std::vector<std::int64_t> const& woven_lengths);

}  // namespace selvage

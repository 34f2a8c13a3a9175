// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a round leaves in the output folder: the drafts, and what was woven of them, with the plan of its training.
#include <string>
#include <vector>

#include "data/packing.h"
#include "io/files.h"
#include "sweep/run_loop.h"

namespace selvage {

io::Path drafts_path(Job const& job, std::int64_t round);
io::Path woven_path(Job const& job, std::int64_t round);

// By one rank. `policy`: the digest of the weights that made them, after state.step steps.
void write_drafts(io::IoThread& io, Job const& job, io::RunState const& state, weave::WeaveMethod method,
                  std::vector<Draft> const& drafts, std::string const& policy);

struct WovenCounts {
    std::int64_t rows = 0;
    std::int64_t tokens = 0;  // inputs
};
// Weaves the round and writes it. By one rank.
WovenCounts write_round(io::IoThread& io, Job const& job, io::RunState const& state, weave::WeaveMethod method,
                        std::vector<Example> const& examples, std::vector<Draft> const& drafts,
                        Tokenizer const& tokenizer);

// The steps that the round trains on these rows, from its first; none where there are no rows.
std::vector<StepPlan> plan_round(Job const& job, io::RunState const& state, std::vector<Woven> const& rows);

}  // namespace selvage

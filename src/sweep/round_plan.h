// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <vector>

#include "sweep/options.h"

namespace selvage {

struct RoundExamples {
    std::vector<Example> examples;  // in data order, each once
    std::int64_t next_cursor = 0;   // where the next round goes on in the data order
};

// The next examples of the data order for a round with `method`: generate.examples of them, or where that is 0 as many
// as the training sweep needs. That is an estimate from the gold lengths: the drafts are not there yet.
RoundExamples round_examples(Corpus const& train, JobOptions const& options, weave::WeaveMethod method,
                             std::int64_t cursor, std::int64_t marker_tokens);

// Every round starts at step (round - 1) * steps_per_round + 1.
std::int64_t total_steps(JobOptions const& options, std::int64_t schedule_rounds);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The evaluation sweep: scores and the gap meter on held-out examples.
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "comm/process_grid.h"
#include "data/corpus.h"
#include "generate/engine.h"
#include "io/run_log.h"
#include "model/model.h"

namespace selvage {

struct EvaluateOptions {
    std::int64_t every_rounds = 1;  // 0: only at the start and the end
    std::int64_t examples = 0;      // held-out examples used; 0: all
    std::int64_t turns = 1;         // correction turns
    std::string extract = "all";    // exact match on: "all" the text, "last_line", "last_number"
    std::int64_t bins = 8;          // position bins of the curves, doubling widths from 8: 0-7, 8-23, ...
    std::int64_t prefix = 16;       // gold or own tokens before the continuation of prefix_shift; bins go by multiples
};

struct EvaluationResult {
    io::EvaluationRow row;    // complete on rank 0, empty elsewhere
    std::int64_t tokens = 0;  // generated and scored, all ranks
    double busy_seconds = 0;  // of this rank
};

// Collective over the data axis. `marker` are the tokens between an answer and its correction (weave.rac.template).
EvaluationResult evaluate(Arena& arena, ProcessGrid const& grid, Model& model, Corpus const& heldout,
                          Tokenizer const& tokenizer, std::span<Token const> marker, EvaluateOptions const& options,
                          GenerateOptions const& generation, std::int64_t context, std::uint64_t seed,
                          std::int64_t step, std::int64_t round, std::function<bool(double)> const& progress);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The evaluation sweep: scores and the gap meter on held-out examples.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

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
    double right_rougeL = 0;        // an answer is right when its ROUGE-L reaches this; 0: when it matches exactly
    std::int64_t bins = 8;          // position bins of the curves, doubling widths from 8: 0-7, 8-23, ...
    std::int64_t prefix = 16;       // gold or own tokens before the continuation of prefix_shift; bins go by multiples
};

// Which of `count` held-out examples an evaluation uses: ascending, `wanted` of them (0: all). The choice is a fixed
// permutation's, the same at every evaluation and for every run.seed, so that runs are compared on the same examples.
std::vector<std::int64_t> choose_examples(std::int64_t count, std::int64_t wanted);

// chance_agreement: item i's draft is held against the gold answer of another item, the same at every evaluation.
// -1 where there is no other.
std::int64_t chance_partner(std::int64_t item, std::int64_t items, std::uint64_t seed);

struct EvaluationResult {
    io::EvaluationRow row;      // complete on rank 0, empty elsewhere (and everywhere when stopped)
    std::int64_t tokens = 0;    // generated and scored, all ranks
    std::int64_t examples = 0;  // evaluated, all ranks
    std::int64_t skipped = 0;   // of the chosen examples: empty prompt, or prompt and answer do not fit the context
    bool stopped = false;       // `progress` returned false on some rank
    double busy_seconds = 0;    // of this rank
};

// What an evaluation asks and tells on its way. All may be empty.
struct EvaluationCalls {
    // Often, with the fraction done, estimated from this rank's share; false stops early.
    std::function<bool(double)> progress;
    // The draft where an earlier start of the same evaluation has made it, else null; the same on all ranks.
    std::function<Draft const*(DraftRequest const&)> known;
    // A draft that was made.
    std::function<void(Draft const&)> made;
};

// Collective over the data axis. `marker` are the tokens between an answer and its correction (weave.rac.template).
// The metrics are listed in evaluate/metrics.h. Bits do not depend on the ranks, the streams or the batches.
//
// Drafts: one greedy (temperature 0; the first answer of the correction turns and the own context of context_gap and
// prefix_shift) and one sampled from the model itself (temperature 1, no cuts, Purpose::evaluate_sample, `round`). Of
// `generation` only streams, max_new_tokens and cache_mib are used. Model::pack beforehand makes it faster.
EvaluationResult evaluate(Arena& arena, ProcessGrid const& grid, Model& model, Corpus const& heldout,
                          Tokenizer const& tokenizer, std::span<Token const> marker, EvaluateOptions const& options,
                          GenerateOptions const& generation, std::int64_t context, std::uint64_t seed,
                          std::int64_t step, std::int64_t round, EvaluationCalls const& calls);

}  // namespace selvage

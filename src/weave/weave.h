// SPDX-License-Identifier: Apache-2.0
#pragma once
// A round's examples and drafts to woven rows with their audit. No MPI, no HDF5.
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "text/records.h"
#include "text/tokenizer.h"
#include "weave/options.h"

namespace selvage::weave {

struct WeaveInput {
    std::span<Example const> examples;  // any order, each once
    std::span<Draft const> drafts;      // of these examples; later turns are left aside; empty for method none
    std::int64_t round = 1;
    std::int64_t schedule_rounds = 1;
    std::uint64_t seed = 0;
    std::int64_t context = 512;
    std::int64_t samples = 1;
};
struct WeaveResult {
    std::vector<Woven> rows;  // ordered by (example, sample, method); empty where every draft was rejected
    // Every key is always there; the file of the round carries them as attributes.
    //   examples, examples_without_rows (all drafts rejected), drafts (given, turn 0)
    //   rows = rows_plain + rows_bash + rows_rac
    //   BASH: positions (answer positions 1..T-1 of all rows), own_positions (a coin fell) = own_used (the own token is
    //     read) + special_made_gold + beyond_draft (the draft is too short); own_equal_gold (of own_used)
    //   RAC: drafts_rac = drafts_kept + rejected_right + rejected_truncated + rejected_overflow; drafts_right (score
    //     reaches the threshold), drafts_truncated (length or context), cut (of drafts_kept: lost their tail)
    //   draft_tokens_with_loss: 0, or the round fails
    std::map<std::string, std::int64_t> audit;
};
// Under BASH and RAC every example needs a draft (turn 0) for each sample 0..samples-1; an answer of one token alone
// needs none under BASH. Errors: internal (a generated or marker token carries loss weight, checked for every row; a
// draft is missing), bad_data (span chain impossible, k outside its schedule's range, an empty prompt or answer).
WeaveResult weave_round(WeaveOptions const& options, WeaveMethod method, WeaveInput const& input,
                        Tokenizer const& tokenizer);

// Which method an example gets under `both`.
WeaveMethod method_of_example(WeaveOptions const& options, WeaveMethod method, std::uint64_t seed, std::int64_t round,
                              std::int64_t example);

}  // namespace selvage::weave

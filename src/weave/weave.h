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
    std::span<Draft const> drafts;      // of these examples; empty for method none
    std::int64_t round = 1;
    std::int64_t schedule_rounds = 1;
    std::uint64_t seed = 0;
    std::int64_t context = 512;
    std::int64_t samples = 1;
};
struct WeaveResult {
    std::vector<Woven> rows;  // ordered by (example, sample, method)
    std::map<std::string, std::int64_t>
        audit;  // drafts, kept, rejected by reason, own tokens used, special made gold ...
};
// Error (internal): a generated token carries loss weight; checked for every row.
WeaveResult weave_round(WeaveOptions const& options, WeaveMethod method, WeaveInput const& input,
                        Tokenizer const& tokenizer);

// Which method an example gets under `both`.
WeaveMethod method_of_example(WeaveOptions const& options, WeaveMethod method, std::uint64_t seed, std::int64_t round,
                              std::int64_t example);

}  // namespace selvage::weave

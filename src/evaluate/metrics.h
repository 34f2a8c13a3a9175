// SPDX-License-Identifier: Apache-2.0
#pragma once
// From the examples' scores to the metrics of one evaluation, by their names in run.h5.
//
// forced_nll, forced_accuracy and context_gap are per token (ratios of sums over the examples), rates are ratios of
// sums, all others means over the examples. Intervals: bootstrap over examples; differences (gap, context_gap,
// prefix_shift*) are paired: what is resampled is the example's difference. NaN where nothing counts.
//
//   forced_nll, forced_accuracy      on gold context; forced_nll_by_position: an example counts in a bin when its gold
//                                    answer reaches the bin
//   context_gap                      nats per token that the own (greedy) context costs, over the positions that both
//                                    contexts have; by position: an example counts in a bin when min(gold tokens, own
//                                    tokens + 1) reaches the bin; the value is the mean over the bin's positions
//   gap                              forced_agreement - free_agreement
//   prefix_agreement_gold, _own      agreement of the greedy continuation with the rest of the gold answer, after
//                                    l gold tokens and after l own tokens
//   prefix_nll_gold, _own            nats per token of that continuation under the model
//   prefix_shift, prefix_shift_nll   agreement_gold - agreement_own; nll_own - nll_gold: positive when own prefixes
//   hurt
//                                    Value at l = prefix, by_position[k] at l = (k + 1) prefix; an example counts at l
//                                    when the gold answer has text behind l and the own answer has l tokens.
//   exact_match, rouge1/2/L          of the first answer; `_turnN`: after N correction turns
//   correction_rate, corruption_rate P(right after | wrong before), P(wrong after | right before), over all correction
//                                    turns together; `_turnN`: of turn N alone
//   numeric_gap                      largest over all drafts' tokens (not resampled: low = high = value)
//   numeric_gap_mean                 per token
//
// Counts by position are counts of examples.
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "evaluate/example_scores.h"
#include "io/run_log.h"

namespace selvage {

// `right_rougeL`: see EvaluateOptions. `scores` in the order of the examples. Every example has `prefixes` prefix
// scores and turns + 1 answers.
std::map<std::string, io::MetricValue> aggregate_scores(std::span<ExampleScores const> scores, std::int64_t bins,
                                                        std::int64_t prefixes, std::int64_t turns, double right_rougeL,
                                                        std::uint64_t seed);

}  // namespace selvage

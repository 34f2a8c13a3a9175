// SPDX-License-Identifier: Apache-2.0
#pragma once
// BASH, batch-scheduled sampling (Cen et al. 2025; schedules after Bengio et al. 2015, forced drafts after Duckworth et
// al. 2019). Pure functions of tokens.
#include <cstdint>
#include <span>
#include <vector>

#include "base/philox.h"
#include "text/records.h"
#include "text/tokenizer.h"
#include "weave/options.h"

namespace selvage::weave {

// e(s), the probability that an input position holds the model's own token, at progress s in [0, 1].
double bash_rate(BashOptions const& options, double progress);
// Progress of a round: (round - 1) / max(1, schedule_rounds - 1), clamped to [0, 1].
double schedule_progress(std::int64_t round, std::int64_t schedule_rounds);

// Which answer positions 1..T-1 read the model's own token (1) instead of gold (0). Element t-1 is position t of the
// answer. A function of (seed, round, example, sample, position), not of any pass. Error (bad_data): span chain
// impossible at this rate.
std::vector<std::uint8_t> bash_coins(BashOptions const& options, std::uint64_t seed, std::int64_t round,
                                     double progress, std::int64_t example, std::int32_t sample,
                                     std::int64_t answer_length);

// z_1..z_(T-1): own token where the coin says so and the own token is not special, else gold. own[t-1] is the model's
// token for answer position t; beyond its end gold stays (a short free draft). Counts, where given, own special tokens
// made gold.
std::vector<Token> bash_mix(std::span<Token const> gold, std::span<Token const> own,
                            std::span<std::uint8_t const> coins, SpecialTokens const& special,
                            std::int64_t* special_count);

// The woven row: inputs (x, z_1..z_(T-1)), targets the gold answer, loss on the answer. origin is `generated` where a
// coin fell and the own token was used, also where it equals gold.
Woven weave_bash(Example const& example, std::int32_t sample, std::span<Token const> own,
                 std::span<std::uint8_t const> coins, SpecialTokens const& special, std::int64_t* special_count);

// x -> y, method none; `weight` on every answer position.
Woven weave_plain(Example const& example, std::int32_t sample, float weight);

}  // namespace selvage::weave

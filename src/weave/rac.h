// SPDX-License-Identifier: Apache-2.0
#pragma once
// RAC, reference-answer-based correction (Cen et al. 2025).
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "text/records.h"
#include "text/tokenizer.h"
#include "weave/options.h"

namespace selvage::weave {

// x, draft without its end-of-answer, marker, y without its last token; loss on y alone. The draft's tail is cut so
// that all of it has at most `context` input tokens (cut); nullopt where that is not allowed or x, marker and y alone
// do not fit.
std::optional<Woven> weave_rac(Example const& example, Draft const& draft, std::span<Token const> marker,
                               std::int64_t context, RacOverflow overflow, SpecialTokens const& special, bool* was_cut);

// The score of a draft under rac.score, text against text, in [0, 1].
double rac_score(RacScore score, std::string_view draft, std::string_view gold);

}  // namespace selvage::weave

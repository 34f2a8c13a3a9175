// SPDX-License-Identifier: Apache-2.0
#include "weave/rac.h"

#include "base/error.h"
#include "score/match.h"
#include "score/rouge.h"
#include "weave/row.h"

namespace selvage::weave {

std::optional<Woven> weave_rac(Example const& example, Draft const& draft, std::span<Token const> marker,
                               std::int64_t context, RacOverflow overflow, SpecialTokens const& special,
                               bool* was_cut) {
    if (was_cut != nullptr) *was_cut = false;
    std::vector<Token> kept;
    for (Token const token : draft.tokens)
        if (token != special.end_of_answer) kept.push_back(token);

    auto const others = static_cast<std::int64_t>(example.prompt.size() + marker.size() + example.answer.size()) - 1;
    std::int64_t const room = context - others;
    if (room < 0) return std::nullopt;
    if (static_cast<std::int64_t>(kept.size()) > room) {
        if (overflow == RacOverflow::drop) return std::nullopt;
        kept.resize(static_cast<std::size_t>(room));
        if (was_cut != nullptr) *was_cut = true;
    }

    Strand between;
    for (Token const token : kept) between.append(token, Origin::generated);
    for (Token const token : marker) between.append(token, Origin::marker);
    Strand answer_inputs;
    for (std::size_t i = 0; i + 1 < example.answer.size(); ++i) answer_inputs.append(example.answer[i], Origin::gold);
    return make_row(example, draft.sample, Method::rac, between, answer_inputs, 1);
}

double rac_score(RacScore score, std::string_view draft, std::string_view gold) {
    switch (score) {
        case RacScore::exact:
            return score::exact_match(draft, gold, score::Extract::all) ? 1 : 0;
        case RacScore::rouge_l:
            return score::rouge_l(draft, gold);
        case RacScore::token_f1:
            return score::token_f1(draft, gold);
    }
    SELVAGE_CHECK(false, "score {}", static_cast<int>(score));
    return 0;
}

}  // namespace selvage::weave

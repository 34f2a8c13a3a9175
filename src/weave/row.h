// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <span>
#include <vector>

#include "text/records.h"

namespace selvage::weave {

// Input tokens with where they came from; both of one length.
struct Strand {
    std::vector<Token> tokens;
    std::vector<Origin> origins;
    void append(Token token, Origin origin) {
        tokens.push_back(token);
        origins.push_back(origin);
    }
};

// The one place that knows the alignment. Inputs are (prompt, between, answer_inputs), where answer_inputs are what is
// read at answer positions 1..T-1. The last input before them predicts y_1, the input at answer position t predicts
// y_(t+1); every prediction of y has `weight`, all others have none and target = next input.
// Error (bad_data): an example without prompt or without answer.
Woven make_row(Example const& example, std::int32_t sample, Method method, Strand const& between,
               Strand const& answer_inputs, float weight);

// Our own bug if broken: sequences of one length, targets without weight follow the inputs, only gold has weight.
void check_row(Woven const& row);

}  // namespace selvage::weave

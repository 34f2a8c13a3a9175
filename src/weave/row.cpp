// SPDX-License-Identifier: Apache-2.0
#include "weave/row.h"

#include "base/error.h"

namespace selvage::weave {

Woven make_row(Example const& example, std::int32_t sample, Method method, Strand const& between,
               Strand const& answer_inputs, float weight) {
    if (example.prompt.empty() || example.answer.empty())
        fail(ExitCode::bad_data, "row {} of the data has an empty {}; leave it out of the data", example.index,
             example.prompt.empty() ? "prompt, so that nothing predicts its first token" : "answer");
    SELVAGE_CHECK(answer_inputs.tokens.size() + 1 == example.answer.size(), "{} answer inputs for {} answer tokens",
                  answer_inputs.tokens.size(), example.answer.size());
    Woven row;
    row.example = example.index;
    row.sample = sample;
    row.method = method;
    std::size_t const start = example.prompt.size() + between.tokens.size() - 1;
    row.answer_start = static_cast<std::int32_t>(start);

    row.input_tokens = example.prompt;
    row.origin.assign(example.prompt.size(), Origin::prompt);
    for (Strand const* strand : {&between, &answer_inputs}) {
        row.input_tokens.insert(row.input_tokens.end(), strand->tokens.begin(), strand->tokens.end());
        row.origin.insert(row.origin.end(), strand->origins.begin(), strand->origins.end());
    }

    auto const offset = static_cast<std::ptrdiff_t>(start) + 1;
    row.target_tokens.assign(row.input_tokens.begin() + 1, row.input_tokens.begin() + offset);
    row.target_tokens.insert(row.target_tokens.end(), example.answer.begin(), example.answer.end());
    row.target_origin.assign(row.origin.begin() + 1, row.origin.begin() + offset);
    row.target_origin.insert(row.target_origin.end(), example.answer.size(), Origin::gold);
    row.loss_weight.assign(start, 0.0F);
    row.loss_weight.insert(row.loss_weight.end(), example.answer.size(), weight);
    return row;
}

void check_row(Woven const& row) {
    std::size_t const n = row.input_tokens.size();
    SELVAGE_CHECK(row.target_tokens.size() == n && row.loss_weight.size() == n && row.origin.size() == n &&
                      row.target_origin.size() == n,
                  "sequences of the woven row of example {} differ in length", row.example);
    for (std::size_t i = 0; i < n; ++i) {
        bool const weighted = row.loss_weight[i] != 0;
        SELVAGE_CHECK(!weighted || row.target_origin[i] == Origin::gold,
                      "position {} of the woven row of example {} has loss on a token of origin {}", i, row.example,
                      static_cast<int>(row.target_origin[i]));
        SELVAGE_CHECK(i >= static_cast<std::size_t>(row.answer_start)
                          ? row.target_origin[i] == Origin::gold
                          : !weighted && row.target_tokens[i] == row.input_tokens[i + 1] &&
                                row.target_origin[i] == row.origin[i + 1],
                      "position {} of the woven row of example {} is out of line", i, row.example);
    }
}

}  // namespace selvage::weave

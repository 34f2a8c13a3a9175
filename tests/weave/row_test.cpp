// SPDX-License-Identifier: Apache-2.0
// The alignment, pinned token by token.
#include "weave/row.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "weave/bash.h"
#include "weave/rac.h"

namespace selvage::weave {
namespace {

constexpr Origin P = Origin::prompt;
constexpr Origin G = Origin::gold;
constexpr Origin S = Origin::generated;
constexpr Origin M = Origin::marker;
constexpr Token eoa = 99;

SpecialTokens const special{eoa, 98, 97};

// x = 1 2 3, y = 11 12 13 14 end-of-answer.
Example example() { return {7, {1, 2, 3}, {11, 12, 13, 14, eoa}}; }

using Tokens = std::vector<Token>;
using Weights = std::vector<float>;
using Origins = std::vector<Origin>;

TEST(Row, Plain) {
    Woven const row = weave_plain(example(), 0, 0.5F);
    EXPECT_EQ(row.example, 7);
    EXPECT_EQ(row.sample, 0);
    EXPECT_EQ(row.method, Method::none);
    EXPECT_EQ(row.answer_start, 2);
    EXPECT_EQ(row.input_tokens, (Tokens{1, 2, 3, 11, 12, 13, 14}));
    EXPECT_EQ(row.target_tokens, (Tokens{2, 3, 11, 12, 13, 14, eoa}));
    EXPECT_EQ(row.loss_weight, (Weights{0, 0, .5F, .5F, .5F, .5F, .5F}));
    EXPECT_EQ(row.origin, (Origins{P, P, P, G, G, G, G}));
    EXPECT_EQ(row.target_origin, (Origins{P, P, G, G, G, G, G}));
    check_row(row);
}

// own[t-1] stands at answer position t: it is read at input place p + t - 1, where y_(t+1) is predicted.
TEST(Row, Bash) {
    Tokens const own = {21, 22, 23, 24};
    std::vector<std::uint8_t> const coins = {0, 1, 0, 1};
    std::int64_t count = 0;
    Woven const row = weave_bash(example(), 3, own, coins, special, &count);
    EXPECT_EQ(row.sample, 3);
    EXPECT_EQ(row.method, Method::bash);
    EXPECT_EQ(row.answer_start, 2);
    EXPECT_EQ(row.input_tokens, (Tokens{1, 2, 3, 11, 22, 13, 24}));
    EXPECT_EQ(row.target_tokens, (Tokens{2, 3, 11, 12, 13, 14, eoa}));
    EXPECT_EQ(row.loss_weight, (Weights{0, 0, 1, 1, 1, 1, 1}));
    EXPECT_EQ(row.origin, (Origins{P, P, P, G, S, G, S}));
    EXPECT_EQ(row.target_origin, (Origins{P, P, G, G, G, G, G}));
    EXPECT_EQ(count, 0);
    check_row(row);
}

TEST(Row, BashFirstAnswerTokenIsReplacedButNeverTheLastTarget) {
    std::vector<std::uint8_t> const all = {1, 1, 1, 1};
    // A longer draft than needed: what stands at y_T's place is never read.
    Woven const row = weave_bash(example(), 0, Tokens{21, 22, 23, 24, 25, 26}, all, special, nullptr);
    EXPECT_EQ(row.input_tokens, (Tokens{1, 2, 3, 21, 22, 23, 24}));
    EXPECT_EQ(row.target_tokens, (Tokens{2, 3, 11, 12, 13, 14, eoa}));
    EXPECT_EQ(row.origin, (Origins{P, P, P, S, S, S, S}));
}

TEST(Row, BashOwnTokenEqualToGoldIsStillGenerated) {
    Woven const row =
        weave_bash(example(), 0, Tokens{11, 12, 13, 14}, std::vector<std::uint8_t>{1, 0, 1, 0}, special, nullptr);
    EXPECT_EQ(row.input_tokens, (Tokens{1, 2, 3, 11, 12, 13, 14}));
    EXPECT_EQ(row.origin, (Origins{P, P, P, S, G, S, G}));
}

TEST(Row, BashSpecialTokensBecomeGold) {
    std::int64_t count = 0;
    Woven const row =
        weave_bash(example(), 0, Tokens{eoa, 98, 97, 24}, std::vector<std::uint8_t>{1, 1, 0, 1}, special, &count);
    EXPECT_EQ(row.input_tokens, (Tokens{1, 2, 3, 11, 12, 13, 24}));
    EXPECT_EQ(row.origin, (Origins{P, P, P, G, G, G, S}));
    EXPECT_EQ(count, 2);  // the third is special too, but no coin fell
    // No begin or padding token in the vocabulary: -1 is none, not a token.
    count = 0;
    EXPECT_EQ(bash_mix(example().answer, Tokens{21, 98, 97, 24}, std::vector<std::uint8_t>{1, 1, 1, 1}, {eoa, -1, -1},
                       &count),
              (Tokens{21, 98, 97, 24}));
    EXPECT_EQ(count, 0);
}

TEST(Row, BashShortDraftLeavesGold) {
    std::int64_t count = 0;
    Woven const row = weave_bash(example(), 0, Tokens{21, 22}, std::vector<std::uint8_t>{1, 1, 1, 1}, special, &count);
    EXPECT_EQ(row.input_tokens, (Tokens{1, 2, 3, 21, 22, 13, 14}));
    EXPECT_EQ(row.origin, (Origins{P, P, P, S, S, G, G}));
    EXPECT_EQ(count, 0);
}

TEST(Row, AnswerOfOneToken) {
    Example const one{0, {1, 2}, {eoa}};
    for (Woven const& row : {weave_plain(one, 0, 1), weave_bash(one, 0, {}, {}, special, nullptr)}) {
        EXPECT_EQ(row.input_tokens, (Tokens{1, 2}));
        EXPECT_EQ(row.target_tokens, (Tokens{2, eoa}));
        EXPECT_EQ(row.loss_weight, (Weights{0, 1}));
        EXPECT_EQ(row.answer_start, 1);
    }
    Example const shortest{0, {1}, {11, eoa}};
    Woven const row = weave_plain(shortest, 0, 1);
    EXPECT_EQ(row.input_tokens, (Tokens{1, 11}));
    EXPECT_EQ(row.target_tokens, (Tokens{11, eoa}));
    EXPECT_EQ(row.answer_start, 0);
}

TEST(Row, EmptyPromptOrAnswerIsBadData) {
    EXPECT_THROW(weave_plain({0, {}, {eoa}}, 0, 1), Error);
    EXPECT_THROW(weave_plain({0, {1}, {}}, 0, 1), Error);
}

Draft draft(Tokens tokens) {
    Draft d;
    d.example = 7;
    d.sample = 2;
    d.tokens = std::move(tokens);
    return d;
}

TEST(Row, Rac) {
    bool cut = true;
    auto const row = weave_rac(example(), draft({31, 32, eoa}), Tokens{51, 52}, 100, RacOverflow::cut, special, &cut);
    ASSERT_TRUE(row);
    EXPECT_FALSE(cut);
    EXPECT_EQ(row->sample, 2);
    EXPECT_EQ(row->method, Method::rac);
    EXPECT_EQ(row->answer_start, 6);
    EXPECT_EQ(row->input_tokens, (Tokens{1, 2, 3, 31, 32, 51, 52, 11, 12, 13, 14}));
    EXPECT_EQ(row->target_tokens, (Tokens{2, 3, 31, 32, 51, 52, 11, 12, 13, 14, eoa}));
    EXPECT_EQ(row->loss_weight, (Weights{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1}));
    EXPECT_EQ(row->origin, (Origins{P, P, P, S, S, M, M, G, G, G, G}));
    EXPECT_EQ(row->target_origin, (Origins{P, P, S, S, M, M, G, G, G, G, G}));
    check_row(*row);
}

TEST(Row, RacWithoutMarkerPredictsFromTheDraft) {
    auto const row = weave_rac(example(), draft({31, 32}), {}, 100, RacOverflow::cut, special, nullptr);
    ASSERT_TRUE(row);
    EXPECT_EQ(row->answer_start, 4);
    EXPECT_EQ(row->input_tokens, (Tokens{1, 2, 3, 31, 32, 11, 12, 13, 14}));
    EXPECT_EQ(row->target_tokens, (Tokens{2, 3, 31, 32, 11, 12, 13, 14, eoa}));
    check_row(*row);
}

TEST(Row, RacOverflowCutsTheDraftAlone) {
    // x, marker and y take 3 + 2 + 4 inputs.
    for (std::int64_t room = 0; room <= 4; ++room) {
        bool cut = false;
        auto const row =
            weave_rac(example(), draft({31, 32, 33, eoa}), Tokens{51, 52}, 9 + room, RacOverflow::cut, special, &cut);
        ASSERT_TRUE(row) << room;
        std::int64_t const kept = std::min<std::int64_t>(room, 3);
        EXPECT_EQ(cut, kept < 3);
        EXPECT_EQ(static_cast<std::int64_t>(row->input_tokens.size()), 9 + kept);
        for (std::int64_t i = 0; i < kept; ++i) EXPECT_EQ(row->input_tokens[static_cast<std::size_t>(3 + i)], 31 + i);
        Tokens const tail(row->target_tokens.end() - 5, row->target_tokens.end());
        EXPECT_EQ(tail, example().answer);
        EXPECT_EQ(row->answer_start, 3 + kept + 2 - 1);
        auto const dropped =
            weave_rac(example(), draft({31, 32, 33, eoa}), Tokens{51, 52}, 9 + room, RacOverflow::drop, special, &cut);
        EXPECT_EQ(dropped.has_value(), room >= 3);
        EXPECT_FALSE(cut);
    }
    bool cut = true;
    EXPECT_FALSE(weave_rac(example(), draft({31}), Tokens{51, 52}, 8, RacOverflow::cut, special, &cut));
    EXPECT_FALSE(cut);
}

TEST(Row, CheckFindsLossOnGeneratedTokens) {
    Woven row = *weave_rac(example(), draft({31, 32}), Tokens{51}, 100, RacOverflow::cut, special, nullptr);
    check_row(row);
    Woven bad = row;
    bad.loss_weight[2] = 1;  // predicts draft token 31
    EXPECT_THROW(check_row(bad), Error);
    bad = row;
    bad.loss_weight[4] = 1;  // predicts the marker
    EXPECT_THROW(check_row(bad), Error);
    bad = row;
    bad.target_tokens[0] = 5;
    EXPECT_THROW(check_row(bad), Error);
    bad = row;
    bad.origin.pop_back();
    EXPECT_THROW(check_row(bad), Error);
}

}  // namespace
}  // namespace selvage::weave

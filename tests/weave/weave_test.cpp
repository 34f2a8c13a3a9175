// SPDX-License-Identifier: Apache-2.0
#include "weave/weave.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "base/philox.h"
#include "weave/bash.h"
#include "weave/rac.h"
#include "weave/row.h"

namespace selvage::weave {
namespace {

Token const eoa = 256;

std::vector<Token> bytes(std::string const& text) {
    std::vector<Token> out;
    for (char c : text) out.push_back(static_cast<unsigned char>(c));
    return out;
}

Example example(std::int64_t index, std::string const& prompt, std::string const& answer) {
    Example e{index, bytes(prompt), bytes(answer)};
    e.answer.push_back(eoa);
    return e;
}

Draft draft(std::int64_t index, std::int32_t sample, std::string const& text,
            FinishReason finish = FinishReason::end_of_answer) {
    Draft d;
    d.example = index;
    d.sample = sample;
    d.finish = finish;
    d.tokens = bytes(text);
    if (finish == FinishReason::end_of_answer) d.tokens.push_back(eoa);
    return d;
}

struct Round {
    std::vector<Example> examples;
    std::vector<Draft> drafts;
    WeaveOptions options;
    WeaveInput input;
    std::unique_ptr<Tokenizer> tokenizer = open_tokenizer("bytes");

    WeaveResult run(WeaveMethod method) {
        input.examples = examples;
        input.drafts = drafts;
        return weave_round(options, method, input, *tokenizer);
    }
};

// Examples 0..count-1 with `samples` drafts each, every second draft right.
Round many(std::int64_t count, std::int64_t samples) {
    Round round;
    round.input.samples = samples;
    for (std::int64_t i = 0; i < count; ++i) {
        round.examples.push_back(example(i, "question " + std::to_string(i), "the answer is " + std::to_string(i)));
        for (std::int32_t s = 0; s < samples; ++s)
            round.drafts.push_back(
                draft(i, s, (i + s) % 2 == 0 ? "the answer is " + std::to_string(i) : "something else entirely"));
    }
    return round;
}

TEST(Weave, MethodPerRound) {
    WeaveOptions options;
    options.method = {WeaveMethod::none, WeaveMethod::bash, WeaveMethod::rac};
    EXPECT_EQ(options.method_of(1), WeaveMethod::none);
    EXPECT_EQ(options.method_of(2), WeaveMethod::bash);
    EXPECT_EQ(options.method_of(3), WeaveMethod::rac);
    EXPECT_EQ(options.method_of(9), WeaveMethod::rac);
}

TEST(Weave, None) {
    Round round = many(5, 0);
    std::reverse(round.examples.begin(), round.examples.end());
    WeaveResult const result = round.run(WeaveMethod::none);
    ASSERT_EQ(result.rows.size(), 5U);
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(result.rows[i].example, static_cast<std::int64_t>(i));
        EXPECT_EQ(result.rows[i].method, Method::none);
        EXPECT_EQ(result.rows[i].loss_weight.back(), 1.0F);
    }
    EXPECT_EQ(result.audit.at("rows_plain"), 5);
    EXPECT_EQ(result.audit.at("positions"), 0);
}

TEST(Weave, BashRowsAndAudit) {
    Round round = many(50, 2);
    round.options.bash.rate = 0.5;
    round.options.bash.gold_weight = 0.25;
    std::mt19937 shuffle(1);
    std::shuffle(round.examples.begin(), round.examples.end(), shuffle);
    std::shuffle(round.drafts.begin(), round.drafts.end(), shuffle);
    round.drafts.push_back(draft(0, 0, "a later turn"));
    round.drafts.back().turn = 1;
    WeaveResult const result = round.run(WeaveMethod::bash);
    ASSERT_EQ(result.rows.size(), 150U);
    // (example, sample, method): the plain row of sample 0, the mixed one of sample 0, the mixed one of sample 1.
    std::int64_t used = 0, equal = 0, positions = 0, coins = 0, beyond = 0, special = 0;
    for (std::int64_t i = 0; i < 50; ++i) {
        auto const* row = &result.rows[static_cast<std::size_t>(3 * i)];
        for (int k = 0; k < 3; ++k) EXPECT_EQ(row[k].example, i);
        EXPECT_EQ(row[0].method, Method::none);
        EXPECT_EQ(row[0].loss_weight.back(), 0.25F);
        Example const e = example(i, "question " + std::to_string(i), "the answer is " + std::to_string(i));
        for (std::int32_t s = 0; s < 2; ++s) {
            Woven const& mixed = row[1 + s];
            EXPECT_EQ(mixed.method, Method::bash);
            EXPECT_EQ(mixed.sample, s);
            auto const own =
                draft(i, s,
                      (i + s) % 2 == 0 ? "the answer is " + std::to_string(i) : std::string("something else entirely"))
                    .tokens;
            auto const fell = bash_coins(round.options.bash, 0, 1, 0, i, s, static_cast<std::int64_t>(e.answer.size()));
            EXPECT_EQ(mixed.input_tokens,
                      weave_bash(e, s, own, fell, round.tokenizer->special(), nullptr).input_tokens);
            for (std::size_t t = 0; t < fell.size(); ++t) {
                ++positions;
                if (fell[t] == 0) continue;
                ++coins;
                if (t >= own.size())
                    ++beyond;
                else if (own[t] == eoa)
                    ++special;
                else
                    ++used, equal += own[t] == e.answer[t];
            }
        }
    }
    auto const& audit = result.audit;
    EXPECT_EQ(audit.at("examples"), 50);
    EXPECT_EQ(audit.at("drafts"), 100);
    EXPECT_EQ(audit.at("rows"), 150);
    EXPECT_EQ(audit.at("rows_bash"), 100);
    EXPECT_EQ(audit.at("rows_plain"), 50);
    EXPECT_EQ(audit.at("positions"), positions);
    EXPECT_EQ(audit.at("own_positions"), coins);
    EXPECT_EQ(audit.at("own_used"), used);
    EXPECT_EQ(audit.at("own_equal_gold"), equal);
    EXPECT_EQ(audit.at("special_made_gold"), special);
    EXPECT_EQ(audit.at("beyond_draft"), beyond);
    EXPECT_EQ(coins, used + special + beyond);
    EXPECT_GT(equal, 0);
}

TEST(Weave, BashCountsShortAndSpecialDrafts) {
    Round round;
    round.examples = {example(0, "p", "abcdef")};
    round.drafts = {draft(0, 0, "AB")};
    round.options.bash.rate = 1;
    auto const result = round.run(WeaveMethod::bash);
    EXPECT_EQ(result.audit.at("positions"), 6);
    EXPECT_EQ(result.audit.at("own_positions"), 6);
    EXPECT_EQ(result.audit.at("own_used"), 2);
    EXPECT_EQ(result.audit.at("special_made_gold"), 1);
    EXPECT_EQ(result.audit.at("beyond_draft"), 3);
    EXPECT_EQ(round.tokenizer->decode(result.rows[0].input_tokens), "pABcdef");
}

TEST(Weave, BashRateFollowsTheRound) {
    Round round = many(100, 1);
    round.options.bash.schedule = BashSchedule::linear;
    round.options.bash.rate_start = 0;
    round.options.bash.rate_end = 1;
    round.input.schedule_rounds = 3;
    EXPECT_EQ(round.run(WeaveMethod::bash).audit.at("own_positions"), 0);
    round.input.round = 3;
    auto audit = round.run(WeaveMethod::bash).audit;
    EXPECT_EQ(audit.at("own_positions"), audit.at("positions"));
    round.input.round = 2;
    audit = round.run(WeaveMethod::bash).audit;
    auto const n = static_cast<double>(audit.at("positions"));
    EXPECT_NEAR(static_cast<double>(audit.at("own_positions")), n / 2, 5 * std::sqrt(n / 4));
}

TEST(Weave, MissingOrDoubleDraftsAreBugs) {
    Round round = many(3, 1);
    round.drafts.pop_back();
    EXPECT_THROW(round.run(WeaveMethod::bash), Error);
    EXPECT_THROW(round.run(WeaveMethod::rac), Error);
    round = many(3, 1);
    round.drafts.push_back(round.drafts.front());
    EXPECT_THROW(round.run(WeaveMethod::bash), Error);
    // Nothing to replace in an answer that is its end alone.
    round = {};
    round.examples = {example(0, "p", "")};
    EXPECT_EQ(round.run(WeaveMethod::bash).rows.size(), 1U);
}

std::vector<std::int64_t> kept_examples(WeaveResult const& result) {
    std::vector<std::int64_t> out;
    for (Woven const& row : result.rows)
        if (row.method == Method::rac) out.push_back(row.example);
    return out;
}

TEST(Weave, RacKeepRules) {
    Round round;
    round.examples = {example(0, "p", "one two three four"), example(1, "p", "one two three four"),
                      example(2, "p", "one two three four")};
    // ROUGE-L 1, 0.5 and 0.
    round.drafts = {draft(0, 0, "one two three four"), draft(1, 0, "one two five six"), draft(2, 0, "seven")};
    auto& rac = round.options.rac;
    EXPECT_EQ(kept_examples(round.run(WeaveMethod::rac)), (std::vector<std::int64_t>{0, 1, 2}));
    rac.keep = RacKeep::wrong;
    auto result = round.run(WeaveMethod::rac);
    EXPECT_EQ(kept_examples(result), (std::vector<std::int64_t>{1, 2}));
    EXPECT_EQ(result.audit.at("drafts_right"), 1);
    EXPECT_EQ(result.audit.at("rejected_right"), 1);
    EXPECT_EQ(result.audit.at("drafts_kept"), 2);
    EXPECT_EQ(result.audit.at("examples_without_rows"), 1);
    // Below the threshold is wrong; the threshold itself is right.
    rac.threshold = 0.5;
    EXPECT_EQ(kept_examples(round.run(WeaveMethod::rac)), (std::vector<std::int64_t>{2}));
    rac.threshold = 0.51;
    EXPECT_EQ(kept_examples(round.run(WeaveMethod::rac)), (std::vector<std::int64_t>{1, 2}));
    rac.score = RacScore::exact;
    EXPECT_EQ(kept_examples(round.run(WeaveMethod::rac)), (std::vector<std::int64_t>{1, 2}));
    rac.score = RacScore::token_f1;
    rac.threshold = 0.5;
    EXPECT_EQ(kept_examples(round.run(WeaveMethod::rac)), (std::vector<std::int64_t>{2}));
    // The plain row stands only beside a correction.
    rac.gold_weight = 2;
    result = round.run(WeaveMethod::rac);
    ASSERT_EQ(result.rows.size(), 2U);
    EXPECT_EQ(result.rows[0].method, Method::none);
    EXPECT_EQ(result.rows[0].example, 2);
    EXPECT_EQ(result.rows[0].loss_weight.back(), 2.0F);
    EXPECT_EQ(result.rows[1].method, Method::rac);
}

TEST(Weave, RacEverythingRejectedIsEmpty) {
    Round round = many(4, 1);
    for (Draft& d : round.drafts) d.finish = FinishReason::length;
    round.options.rac.truncated = RacTruncated::drop;
    auto const result = round.run(WeaveMethod::rac);
    EXPECT_TRUE(result.rows.empty());
    EXPECT_EQ(result.audit.at("rejected_truncated"), 4);
    EXPECT_EQ(result.audit.at("examples_without_rows"), 4);
    round.options.rac.truncated = RacTruncated::keep;
    round.drafts[0].finish = FinishReason::context;
    auto const kept = round.run(WeaveMethod::rac);
    EXPECT_EQ(kept.rows.size(), 4U);
    EXPECT_EQ(kept.audit.at("drafts_truncated"), 4);
}

TEST(Weave, RacKeepsAShareOfRightDrafts) {
    Round round = many(2000, 1);
    round.options.rac.keep = RacKeep::wrong_some;
    round.options.rac.right_fraction = 0.25;
    auto const result = round.run(WeaveMethod::rac);
    auto const& audit = result.audit;
    EXPECT_EQ(audit.at("drafts_right"), 1000);
    auto const right_kept = static_cast<double>(1000 - audit.at("rejected_right"));
    EXPECT_NEAR(right_kept, 250, 5 * std::sqrt(1000 * 0.25 * 0.75));
    EXPECT_EQ(audit.at("drafts_kept"), 2000 - audit.at("rejected_right"));
    EXPECT_EQ(audit.at("drafts_rac"), 2000);
    // Another sample of the same example is drawn anew.
    round.options.rac.right_fraction = 0;
    EXPECT_EQ(round.run(WeaveMethod::rac).audit.at("rejected_right"), 1000);
    round.options.rac.right_fraction = 1;
    EXPECT_EQ(round.run(WeaveMethod::rac).audit.at("rejected_right"), 0);
}

TEST(Weave, RacTextAndOverflow) {
    Round round;
    round.examples = {example(0, "p", "gold")};
    round.drafts = {draft(0, 0, "draft")};
    round.options.rac.marker = "|";
    auto result = round.run(WeaveMethod::rac);
    EXPECT_EQ(round.tokenizer->decode(result.rows[0].input_tokens), "pdraft|gold");
    round.input.context = 8;  // p, |, gold and two tokens of the draft
    result = round.run(WeaveMethod::rac);
    EXPECT_EQ(round.tokenizer->decode(result.rows[0].input_tokens), "pdr|gold");
    EXPECT_EQ(result.audit.at("cut"), 1);
    round.options.rac.overflow = RacOverflow::drop;
    EXPECT_EQ(round.run(WeaveMethod::rac).audit.at("rejected_overflow"), 1);
    round.options.rac.overflow = RacOverflow::cut;
    round.input.context = 5;
    EXPECT_EQ(round.run(WeaveMethod::rac).audit.at("rejected_overflow"), 1);
}

TEST(Weave, BothSplitsByExample) {
    Round round = many(1000, 2);
    round.options.rac_fraction = 0.3;
    auto const result = round.run(WeaveMethod::both);
    std::int64_t rac = 0;
    for (Woven const& row : result.rows) {
        auto const method = method_of_example(round.options, WeaveMethod::both, 0, 1, row.example);
        EXPECT_EQ(row.method, method == WeaveMethod::rac ? Method::rac : Method::bash);
        rac += row.method == Method::rac ? 1 : 0;
    }
    EXPECT_EQ(result.rows.size(), 2000U);
    EXPECT_NEAR(static_cast<double>(rac) / 2, 300, 5 * std::sqrt(1000 * 0.3 * 0.7));
    EXPECT_EQ(result.audit.at("drafts_rac"), rac);
    EXPECT_TRUE(std::is_sorted(result.rows.begin(), result.rows.end(), [](Woven const& a, Woven const& b) {
        return std::tie(a.example, a.sample, a.method) < std::tie(b.example, b.sample, b.method);
    }));
    EXPECT_EQ(method_of_example(round.options, WeaveMethod::bash, 0, 1, 5), WeaveMethod::bash);
    round.options.rac_fraction = 0;
    EXPECT_EQ(method_of_example(round.options, WeaveMethod::both, 0, 1, 5), WeaveMethod::bash);
    round.options.rac_fraction = 1;
    EXPECT_EQ(method_of_example(round.options, WeaveMethod::both, 0, 1, 5), WeaveMethod::rac);
}

// The rows of an example do not depend on what else is in the round, or on its order.
TEST(Weave, RowsOfAnExampleStandAlone) {
    Round all = many(20, 2);
    all.options.rac_fraction = 0.5;
    all.options.rac.keep = RacKeep::wrong_some;
    auto const together = all.run(WeaveMethod::both);
    std::size_t at = 0;
    for (std::int64_t i = 0; i < 20; ++i) {
        Round one = many(20, 2);
        one.options = all.options;
        one.examples = {one.examples[static_cast<std::size_t>(i)]};
        for (Woven const& row : one.run(WeaveMethod::both).rows) {
            ASSERT_LT(at, together.rows.size());
            EXPECT_EQ(row.input_tokens, together.rows[at].input_tokens);
            EXPECT_EQ(row.origin, together.rows[at].origin);
            ++at;
        }
    }
    EXPECT_EQ(at, together.rows.size());
}

}  // namespace
}  // namespace selvage::weave

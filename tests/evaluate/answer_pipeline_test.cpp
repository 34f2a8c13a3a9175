// SPDX-License-Identifier: Apache-2.0
#include "evaluate/answer_pipeline.h"

#include <gtest/gtest.h>

#include <functional>

#include "evaluate/example_scores.h"

namespace selvage {
namespace {

constexpr Token end = 99;

// Answers every request with what `speak` says, newest or oldest first; collects the requests.
std::vector<ExampleAnswers> play(AnswerPipeline& pipeline, std::function<Draft(DraftRequest const&)> const& speak,
                                 std::vector<DraftRequest>* log, bool newest_first = false) {
    std::vector<DraftRequest> held;
    std::vector<ExampleAnswers> out;
    for (;;) {
        while (auto request = pipeline.next()) {
            if (log != nullptr) log->push_back(*request);
            held.push_back(std::move(*request));
        }
        if (held.empty()) break;
        auto const place = newest_first ? held.end() - 1 : held.begin();
        Draft draft = speak(*place);
        draft.example = place->example;
        draft.sample = place->sample;
        draft.turn = place->turn;
        held.erase(place);
        pipeline.take(std::move(draft));
        for (auto& one : pipeline.take_finished()) out.push_back(std::move(one));
    }
    EXPECT_TRUE(pipeline.idle());
    return out;
}

Draft draft_of(std::vector<Token> tokens) {
    Draft draft;
    draft.logprob.assign(tokens.size(), -1.0F);
    draft.tokens = std::move(tokens);
    return draft;
}

// Ten tokens 10, 11, ... and end-of-answer, or as many as asked for.
Draft ten_tokens(DraftRequest const& request) {
    std::vector<Token> tokens;
    for (Token t = 10; t < 20; ++t) tokens.push_back(t + 10 * request.turn);
    tokens.push_back(end);
    if (static_cast<std::int64_t>(tokens.size()) > request.max_new_tokens)
        tokens.resize(static_cast<std::size_t>(request.max_new_tokens));
    return draft_of(std::move(tokens));
}

AnswerOptions options(std::int64_t context = 100) {
    AnswerOptions o;
    o.turns = 2;
    o.prefix = 4;
    o.context = context;
    o.max_new_tokens = 12;
    o.marker = {7, 8};
    o.end_of_answer = end;
    return o;
}

Example example() { return {5, {1, 2, 3}, {50, 51, 52, 53, 54, 55, 56, end}}; }

TEST(AnswerPipeline, AsksForDraftsContinuationsAndCorrections) {
    AnswerPipeline pipeline(options());
    pipeline.begin(0, example());
    std::vector<DraftRequest> log;
    auto const answers = play(pipeline, ten_tokens, &log);
    ASSERT_EQ(answers.size(), 1u);
    ASSERT_EQ(log.size(), 5u);
    EXPECT_EQ(log[0].prompt, (std::vector<Token>{1, 2, 3}));
    EXPECT_EQ(log[0].sampler.temperature, 0);
    EXPECT_EQ(log[1].sampler.temperature, 1);
    EXPECT_EQ(log[1].sample, 1);
    for (auto const& request : log) EXPECT_EQ(request.purpose, Purpose::evaluate_sample);
    // Four gold tokens and the rest of the budget; eight do not leave gold text behind them.
    EXPECT_EQ(log[2].prompt, (std::vector<Token>{1, 2, 3, 50, 51, 52, 53}));
    EXPECT_EQ(log[2].max_new_tokens, 8);
    // The last answer alone, without its end-of-answer, and the marker.
    EXPECT_EQ(log[3].prompt, (std::vector<Token>{1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 7, 8}));
    EXPECT_EQ(log[3].turn, 1);
    EXPECT_EQ(log[4].prompt, (std::vector<Token>{1, 2, 3, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 7, 8}));
    EXPECT_EQ(log[4].turn, 2);
    ExampleAnswers const& one = answers[0];
    ASSERT_EQ(one.turns.size(), 3u);
    EXPECT_EQ(one.turns[2].front(), 30);
    EXPECT_EQ(one.turns[0].size(), 10u);
    EXPECT_TRUE(one.continuations[0].has_value());
    EXPECT_FALSE(one.continuations[1].has_value());
    EXPECT_EQ(one.generated_tokens, 11 + 11 + 8 + 11 + 11);
}

TEST(AnswerPipeline, PrefixNeedsAnOwnTokenBehindIt) {
    auto const count = [](std::vector<Token> own) {
        AnswerPipeline pipeline(options());
        pipeline.begin(0, example());
        return play(
                   pipeline, [&](DraftRequest const&) { return draft_of(own); }, nullptr)[0]
            .continuations[0]
            .has_value();
    };
    EXPECT_FALSE(count({1, 2, 3, end}));
    EXPECT_FALSE(count({1, 2, 3, 4}));  // cut by its length: nothing follows
    EXPECT_TRUE(count({1, 2, 3, 4, end}));
    EXPECT_TRUE(count({1, 2, 3, 4, 5}));
}

TEST(AnswerPipeline, CutsTheLastAnswerWhereRoomIsShort) {
    // Context 17: prompt 3, marker 2, so 12 for the last answer and the new one: 6 are reserved.
    AnswerPipeline pipeline(options(17));
    pipeline.begin(0, example());
    std::vector<DraftRequest> log;
    play(pipeline, ten_tokens, &log);
    DraftRequest const& correction = log[3];
    EXPECT_EQ(correction.turn, 1);
    EXPECT_EQ(correction.prompt, (std::vector<Token>{1, 2, 3, 10, 11, 12, 13, 14, 15, 7, 8}));
    EXPECT_EQ(correction.max_new_tokens, 6);
    for (auto const& request : log)
        EXPECT_LE(static_cast<std::int64_t>(request.prompt.size()) + request.max_new_tokens, 17);
}

TEST(AnswerPipeline, KeepsTheAnswerWhereThereIsNoRoomForAnother) {
    AnswerPipeline pipeline(options(5));
    pipeline.begin(0, {5, {1, 2, 3}, {50, end}});
    std::vector<DraftRequest> log;
    auto const answers = play(pipeline, ten_tokens, &log);
    EXPECT_EQ(log.size(), 2u);
    EXPECT_EQ(log[0].max_new_tokens, 2);
    ASSERT_EQ(answers[0].turns.size(), 3u);
    EXPECT_EQ(answers[0].turns[2], answers[0].turns[0]);
}

TEST(AnswerPipeline, OrderOfDraftsDoesNotMatter) {
    for (bool newest_first : {false, true}) {
        AnswerPipeline pipeline(options());
        for (std::int64_t row = 0; row < 4; ++row) {
            Example one = example();
            one.index = 10 * row;
            pipeline.begin(row, one);
        }
        auto const answers = play(pipeline, ten_tokens, nullptr, newest_first);
        ASSERT_EQ(answers.size(), 4u);
        for (auto const& one : answers) {
            EXPECT_EQ(one.item * 10, one.example.index);
            EXPECT_EQ(one.turns.size(), 3u);
            EXPECT_EQ(one.turns[1].front(), 20);
            EXPECT_EQ(one.generated_tokens, 11 + 11 + 8 + 11 + 11);
        }
    }
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "generate/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "generate/forced.h"
#include "generate/small_model.h"

namespace selvage {
namespace {

using test::context;
using test::differing;
using test::free_requests;
using test::generate_options;
using test::seed;
using test::SmallModel;
using test::special;

// No token of the model ends an answer.
constexpr SpecialTokens no_end{.end_of_answer = 1000, .begin = -1, .padding = -1};

std::vector<Draft> drafts_of(SmallModel& small, GenerateOptions const& options, std::vector<DraftRequest> requests,
                             Engine::Counters* counters = nullptr, std::int64_t round = 2) {
    Engine engine(small.arena, small.model, options, context, special, seed);
    auto drafts = engine.run_all(round, std::move(requests));
    if (counters != nullptr) *counters = engine.counters();
    return drafts;
}

TEST(Engine, IdsWithoutAPieceAreNeverDrawn) {
    constexpr Token pieces = 41;
    SmallModel all;
    SmallModel padded(64, pieces);
    auto const largest = [](std::vector<Draft> const& drafts) {
        Token most = 0;
        for (Draft const& draft : drafts)
            most = std::max(most, *std::max_element(draft.tokens.begin(), draft.tokens.end()));
        return most;
    };
    EXPECT_GT(largest(drafts_of(all, generate_options(8), free_requests(40))), pieces);
    auto const requests = free_requests(40);
    auto const drafts = drafts_of(padded, generate_options(8), requests);
    EXPECT_EQ(largest(drafts), pieces - 1);
    // Log-probabilities are those of the whole vocabulary, as in training.
    ForcedPass pass(all.arena, all.model, context, seed);
    for (std::size_t i = 0; i < 10; ++i) {
        ForcedSequence sequence{.inputs = requests[i].prompt,
                                .first = static_cast<std::int64_t>(requests[i].prompt.size()) - 1,
                                .targets = drafts[i].tokens};
        sequence.inputs.insert(sequence.inputs.end(), drafts[i].tokens.begin(), drafts[i].tokens.end() - 1);
        EXPECT_EQ(pass.run({&sequence, 1}, nullptr, 2, Purpose::sample)[0].logprob, drafts[i].logprob);
    }
}

TEST(Engine, TemperaturesTooSmallForAFloatAreZero) {
    SmallModel small;
    auto requests = free_requests(6);
    for (DraftRequest& request : requests) request.sampler = {.temperature = 0};
    auto const greedy = drafts_of(small, generate_options(8), requests);
    for (DraftRequest& request : requests) request.sampler = {.temperature = 1e-60};
    EXPECT_EQ(differing(drafts_of(small, generate_options(8), requests), greedy), 0);
}

TEST(Engine, DraftsAreSane) {
    SmallModel small;
    Engine::Counters counters;
    auto const requests = free_requests(40);
    auto const drafts = drafts_of(small, generate_options(8), requests, &counters);
    std::set<FinishReason> reasons;
    std::int64_t tokens = 0;
    std::int64_t prompts = 0;
    std::set<Token> seen;
    for (std::size_t i = 0; i < drafts.size(); ++i) {
        Draft const& draft = drafts[i];
        DraftRequest const& request = requests[i];
        EXPECT_EQ(draft.example, request.example);
        EXPECT_EQ(draft.sample, request.sample);
        EXPECT_EQ(draft.turn, request.turn);
        ASSERT_FALSE(draft.tokens.empty());
        ASSERT_EQ(draft.tokens.size(), draft.logprob.size());
        ASSERT_EQ(draft.tokens.size(), draft.sampled_logprob.size());
        bool const ended = draft.tokens.back() == special.end_of_answer;
        EXPECT_EQ(draft.finish, ended ? FinishReason::end_of_answer : FinishReason::length);
        EXPECT_EQ(std::count(draft.tokens.begin(), draft.tokens.end(), special.end_of_answer), ended ? 1 : 0);
        EXPECT_TRUE(ended || static_cast<std::int64_t>(draft.tokens.size()) == request.max_new_tokens);
        reasons.insert(draft.finish);
        seen.insert(draft.tokens.begin(), draft.tokens.end());
        tokens += static_cast<std::int64_t>(draft.tokens.size());
        prompts += static_cast<std::int64_t>(request.prompt.size());
        for (std::size_t t = 0; t < draft.tokens.size(); ++t) {
            EXPECT_LE(draft.logprob[t], 0);
            EXPECT_LE(draft.sampled_logprob[t], 0);
            // Without cuts, at temperature 1, the sampler's probability is the model's, up to the weights' rounding.
            if (request.sampler == SamplerOptions{}) {
                EXPECT_NEAR(draft.logprob[t], draft.sampled_logprob[t], 1e-4);
            }
            if (request.sampler.temperature == 0) {
                EXPECT_EQ(draft.sampled_logprob[t], 0);
            }
        }
    }
    EXPECT_EQ(reasons.size(), 2U);
    EXPECT_GT(seen.size(), 50U);
    EXPECT_EQ(counters.generated_tokens, tokens);
    // A prompt of one token, and the last row of a prompt in chunks, run as decoding rows.
    EXPECT_LE(counters.prefill_tokens, prompts);
    EXPECT_GT(counters.prefill_tokens, prompts / 2);
    EXPECT_EQ(counters.preemptions, 0);
    EXPECT_GT(counters.busy_seconds, 0);
}

TEST(Engine, SameDraftsForAnyNumberOfStreams) {
    SmallModel small;
    auto const expected = drafts_of(small, generate_options(1), free_requests(40));
    for (std::int64_t const streams : {3, 8, 32, 300})
        EXPECT_EQ(differing(drafts_of(small, generate_options(streams), free_requests(40)), expected), 0) << streams;
    // The test can fail: another round draws other numbers.
    EXPECT_GT(differing(drafts_of(small, generate_options(8), free_requests(40), nullptr, 3), expected), 20);
}

TEST(Engine, SameDraftsWithPackedWeights) {
    SmallModel small;
    auto const expected = drafts_of(small, generate_options(8), free_requests(30));
    small.model.pack(small.arena);
    for (std::int64_t const streams : {1, 8, 32})
        EXPECT_EQ(differing(drafts_of(small, generate_options(streams), free_requests(30)), expected), 0) << streams;
}

TEST(Engine, SameDraftsInAnyOrder) {
    SmallModel small;
    auto expected = drafts_of(small, generate_options(8), free_requests(40));
    auto requests = free_requests(40);
    std::reverse(requests.begin(), requests.end());
    std::rotate(requests.begin(), requests.begin() + 7, requests.end());
    std::reverse(expected.begin(), expected.end());
    std::rotate(expected.begin(), expected.begin() + 7, expected.end());
    EXPECT_EQ(differing(drafts_of(small, generate_options(5), requests), expected), 0);
}

TEST(Engine, SameDraftsWhenPagesRunShort) {
    SmallModel small;
    // Short prompts, so that many are let in, with answers that nothing ends but their length: 3 to 6 pages each.
    auto requests = free_requests(24);
    for (DraftRequest& request : requests) {
        request.prompt.resize(std::min<std::size_t>(request.prompt.size(), 10));
        request.max_new_tokens = 150 + request.example * 8;
    }
    Engine roomy(small.arena, small.model, generate_options(6), context, no_end, seed);
    auto const expected = roomy.run_all(2, requests);
    EXPECT_EQ(roomy.counters().preemptions, 0);
    // 1 MiB is 32 pages of this model; 16 streams need more than 60.
    ASSERT_EQ(KvCache::bytes_per_page(small.model.config(), DType::f32), 32U << 10);
    Engine tight(small.arena, small.model, generate_options(16, 1), context, no_end, seed);
    EXPECT_EQ(differing(tight.run_all(2, requests), expected), 0);
    EXPECT_GT(tight.counters().preemptions, 5);
    // What was read again is counted as prompt, never as new tokens.
    EXPECT_EQ(tight.counters().generated_tokens, roomy.counters().generated_tokens);
    EXPECT_GT(tight.counters().prefill_tokens, roomy.counters().prefill_tokens);
}

TEST(Engine, SameDraftsWithPromptsInChunks) {
    SmallModel small(1088);
    std::vector<DraftRequest> requests;
    for (std::uint32_t example = 0; example < 6; ++example) {
        DraftRequest request = test::free_request(example);
        request.prompt = test::random_tokens(example, 3, 150 + 37 * example, 1088);
        request.max_new_tokens = 12;
        requests.push_back(request);
    }
    // Alone, the shortest prompts go in one piece; together they are cut at other places.
    auto const expected = drafts_of(small, generate_options(1), requests);
    Engine::Counters counters;
    EXPECT_EQ(differing(drafts_of(small, generate_options(6), requests, &counters), expected), 0);
    EXPECT_LT(counters.steps, 2 * 12);
}

// Several samples and turns of long prompts, those of one prompt side by side or far apart.
std::vector<DraftRequest> samples_of_prompts(std::int32_t samples, bool side_by_side) {
    std::vector<DraftRequest> requests;
    for (std::uint32_t i = 0; i < 6U * static_cast<std::uint32_t>(samples); ++i) {
        auto const of = static_cast<std::uint32_t>(samples);
        std::uint32_t const example = side_by_side ? i / of : i % 6;
        DraftRequest request = test::free_request(example);
        request.sample = static_cast<std::int32_t>(side_by_side ? i % of : i / 6);
        request.prompt = test::random_tokens(example, 3, 130 + 7 * example);
        // The second turn's prompt goes on behind the first's.
        if (request.sample == 1) request.prompt.resize(request.prompt.size() + 70, 3);
        request.max_new_tokens = 150 + 10 * static_cast<std::int64_t>(i % 7);
        requests.push_back(std::move(request));
    }
    return requests;
}

TEST(Engine, SameDraftsWithSharedPages) {
    SmallModel small;
    for (bool const side_by_side : {true, false}) {
        auto const requests = samples_of_prompts(4, side_by_side);
        // Alone, nobody shares.
        std::vector<Draft> expected;
        Engine single(small.arena, small.model, generate_options(1), context, no_end, seed);
        for (DraftRequest const& request : requests) expected.push_back(single.run_all(2, {request})[0]);
        EXPECT_EQ(single.counters().shared_tokens, 0);
        for (std::int64_t const streams : {2, 5, 24}) {
            Engine::Counters counters;
            Engine engine(small.arena, small.model, generate_options(streams), context, no_end, seed);
            EXPECT_EQ(differing(engine.run_all(2, requests), expected), 0) << streams;
            counters = engine.counters();
            if (side_by_side || streams == 24) {
                EXPECT_GT(counters.shared_tokens, 6 * 128) << streams;
                EXPECT_LT(counters.prefill_tokens, single.counters().prefill_tokens - 6 * 128) << streams;
            }
            EXPECT_EQ(counters.generated_tokens, single.counters().generated_tokens);
        }
        // With preemption: 32 pages, of which 24 unshared sequences would need more than 100.
        Engine tight(small.arena, small.model, generate_options(24, 1), context, no_end, seed);
        EXPECT_EQ(differing(tight.run_all(2, requests), expected), 0);
        EXPECT_GT(tight.counters().preemptions, 0);
        EXPECT_GT(tight.counters().shared_tokens, 0);
    }
}

TEST(Engine, SamplesOfOneExampleDiffer) {
    SmallModel small;
    std::vector<DraftRequest> requests(3, test::free_request(0));
    requests[1].sample += 1;
    auto drafts = drafts_of(small, generate_options(3), requests);
    EXPECT_NE(drafts[0].tokens, drafts[1].tokens);
    EXPECT_EQ(drafts[0].tokens, drafts[2].tokens);
    requests[0].purpose = Purpose::evaluate_sample;
    EXPECT_NE(drafts_of(small, generate_options(3), requests)[0].tokens, drafts[2].tokens);
}

DraftRequest endless(std::size_t prompt, std::int64_t max_new_tokens) {
    DraftRequest request;
    request.prompt = test::random_tokens(1, 1, prompt);
    request.max_new_tokens = max_new_tokens;
    return request;
}
TEST(Engine, StopsAtLengthAndContext) {
    SmallModel small;
    Engine engine(small.arena, small.model, generate_options(4), 100, no_end, seed);
    struct Case {
        std::size_t prompt;
        std::int64_t max_new_tokens;
        std::size_t tokens;
        FinishReason finish;
    };
    std::vector<Case> const cases = {
        {90, 5, 5, FinishReason::length},   {90, 10, 10, FinishReason::length},  {90, 11, 10, FinishReason::context},
        {99, 50, 1, FinishReason::context}, {100, 50, 0, FinishReason::context}, {150, 50, 0, FinishReason::context},
        {10, 1, 1, FinishReason::length},   {10, 0, 0, FinishReason::length},    {1, 1000, 99, FinishReason::context}};
    std::vector<DraftRequest> requests;
    for (Case const& c : cases) requests.push_back(endless(c.prompt, c.max_new_tokens));
    auto const drafts = engine.run_all(1, requests);
    for (std::size_t i = 0; i < cases.size(); ++i) {
        EXPECT_EQ(drafts[i].tokens.size(), cases[i].tokens) << i;
        EXPECT_EQ(drafts[i].finish, cases[i].finish) << i;
    }
}

TEST(Engine, RequestThatCanNeverFitIsAnError) {
    SmallModel small;
    // 32 pages of 64 positions.
    Engine engine(small.arena, small.model, generate_options(2, 1), 5000, no_end, seed);
    EXPECT_EQ(engine.run_all(1, {endless(2000, 49)})[0].tokens.size(), 49U);
    try {
        engine.run_all(1, {endless(10, 3), endless(2000, 50)});
        FAIL() << "no error";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        EXPECT_THAT(error.what(), testing::HasSubstr("2049 positions"));
        EXPECT_THAT(error.what(), testing::HasSubstr("generate.cache_mib"));
    }
    // The engine is good for the next run.
    EXPECT_EQ(engine.run_all(1, {endless(10, 3)})[0].tokens.size(), 3U);
}

TEST(Engine, BadOptionsAreErrors) {
    SmallModel small;
    EXPECT_THROW(Engine(small.arena, small.model, generate_options(4, 0), context, special, seed), Error);
    EXPECT_THROW(Engine(small.arena, small.model, generate_options(0), context, special, seed), Error);
}

TEST(Engine, WeightsThatAreNotFiniteAreAnError) {
    SmallModel small;
    small.model.parameters().values().as<float>()[100] = std::numeric_limits<float>::quiet_NaN();
    Engine engine(small.arena, small.model, generate_options(4), context, special, seed);
    std::vector<DraftRequest> requests = free_requests(4);
    for (DraftRequest& request : requests) request.prompt = {0, 1, 2, 3};
    EXPECT_THROW(engine.run_all(1, requests), Error);
}

TEST(Engine, HooksSeeEveryStepAndCanStop) {
    SmallModel small;
    auto const expected = drafts_of(small, generate_options(4), free_requests(12));
    Engine engine(small.arena, small.model, generate_options(4), context, special, seed);
    std::uint32_t given = 0;
    int asked_in_vain = 0;
    int progress = 0;
    int stop_after = 20;
    std::vector<Token> streamed;
    std::vector<Draft> done;
    Engine::Hooks hooks;
    // Requests come late: every third question is answered.
    hooks.next = [&]() -> std::optional<DraftRequest> {
        if (given == 12 || asked_in_vain++ % 3 != 2) return std::nullopt;
        return test::free_request(given++);
    };
    hooks.exhausted = [&] { return given == 12; };
    hooks.done = [&](Draft&& draft) { done.push_back(std::move(draft)); };
    hooks.progress = [&] { return ++progress != stop_after; };
    hooks.token = [&](Token token) { streamed.push_back(token); };
    engine.run(2, hooks);
    EXPECT_EQ(progress, 20);
    EXPECT_LE(engine.counters().steps, 19);

    // Another run starts from nothing.
    given = 0;
    done.clear();
    streamed.clear();
    stop_after = -1;
    engine.run(2, hooks);
    std::sort(done.begin(), done.end(), [](Draft const& a, Draft const& b) { return a.example < b.example; });
    EXPECT_EQ(differing(done, expected), 0);
    std::size_t tokens = 0;
    for (Draft const& draft : expected) tokens += draft.tokens.size();
    EXPECT_EQ(streamed.size(), tokens);
}

}  // namespace
}  // namespace selvage

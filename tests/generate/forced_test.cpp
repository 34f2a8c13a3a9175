// SPDX-License-Identifier: Apache-2.0
#include "generate/forced.h"

#include <gtest/gtest.h>

#include "generate/sampler_reference.h"
#include "generate/small_model.h"
#include "generate/training_logprob.h"
#include "kernels/softmax.h"

namespace selvage {
namespace {

using test::context;
using test::generate_options;
using test::seed;
using test::SmallModel;
using test::special;

constexpr std::int64_t round_number = 4;

ForcedSequence sequence_of(DraftRequest const& request, std::vector<Token> const& answer_inputs,
                           std::vector<Token> targets) {
    ForcedSequence sequence;
    sequence.example = request.example;
    sequence.sample = request.sample;
    sequence.turn = request.turn;
    sequence.inputs = request.prompt;
    sequence.inputs.insert(sequence.inputs.end(), answer_inputs.begin(), answer_inputs.end());
    sequence.first = static_cast<std::int64_t>(request.prompt.size()) - 1;
    sequence.targets = std::move(targets);
    return sequence;
}
std::vector<Token> without_last(std::vector<Token> tokens) {
    tokens.pop_back();
    return tokens;
}

// Prompts with drafts of the engine as given answers.
struct Drafted {
    explicit Drafted(SmallModel& small, std::uint32_t count) : requests(test::free_requests(count)) {
        Engine engine(small.arena, small.model, generate_options(8), context, special, seed);
        drafts = engine.run_all(round_number, requests);
        for (std::size_t i = 0; i < count; ++i)
            sequences.push_back(sequence_of(requests[i], without_last(drafts[i].tokens), drafts[i].tokens));
    }
    std::vector<DraftRequest> requests;
    std::vector<Draft> drafts;
    std::vector<ForcedSequence> sequences;
};

TEST(Forced, LogprobsAreThoseOfGenerationForAnyPacking) {
    SmallModel small;
    Drafted const drafted(small, 40);
    for (std::int64_t const rows : {270, 400, 1000, 5000}) {
        ForcedPass pass(small.arena, small.model, rows, seed);
        auto const results = pass.run(drafted.sequences, nullptr, round_number, Purpose::sample);
        for (std::size_t i = 0; i < results.size(); ++i) {
            ASSERT_EQ(results[i].logprob, drafted.drafts[i].logprob) << "rows " << rows << " sequence " << i;
            EXPECT_TRUE(results[i].sampled.empty());
            // A greedy draft is its own argmax prediction.
            if (drafted.requests[i].sampler.temperature == 0) {
                EXPECT_EQ(results[i].argmax, drafted.drafts[i].tokens) << i;
            }
        }
    }
}

TEST(Forced, SamplingGivesTheDraftAgain) {
    // The same contexts and draws as the engine's: the same tokens.
    SmallModel small;
    Drafted const drafted(small, 40);
    ForcedPass pass(small.arena, small.model, 600, seed);
    for (std::size_t i = 0; i < drafted.sequences.size(); ++i) {
        auto const result = pass.run(std::span(drafted.sequences).subspan(i, 1), &drafted.requests[i].sampler,
                                     round_number, Purpose::sample)[0];
        EXPECT_EQ(result.sampled, drafted.drafts[i].tokens) << i;
        EXPECT_EQ(result.sampled_own_logprob, drafted.drafts[i].logprob) << i;
        EXPECT_EQ(result.sampled_logprob, drafted.drafts[i].sampled_logprob) << i;
        auto const other = pass.run(std::span(drafted.sequences).subspan(i, 1), &drafted.requests[i].sampler,
                                    round_number + 1, Purpose::sample)[0];
        if (drafted.requests[i].sampler.temperature > 0 && result.sampled.size() > 8) {
            EXPECT_NE(other.sampled, result.sampled);
        }
    }
}

TEST(Forced, LogprobsAreThoseOfTheTrainingForward) {
    for (std::int64_t const vocabulary : {64, 1088}) {
        SmallModel small(vocabulary);
        Drafted const drafted(small, 12);
        auto const logprob = test::training_logprob(small, drafted.requests, drafted.drafts);
        std::size_t compared = 0;
        for (std::size_t i = 0; i < logprob.size(); ++i) {
            EXPECT_EQ(drafted.drafts[i].logprob, logprob[i]) << "vocabulary " << vocabulary << " draft " << i;
            compared += logprob[i].size();
        }
        EXPECT_GT(compared, 200U);
    }
}

TEST(Forced, DrawsAreThoseOfTheContract) {
    // Written out: key (seed, purpose), counter (round, example, place in the answer, sample, turn).
    SmallModel small;
    DraftRequest request = test::free_request(13);
    request.sampler = {};
    request.turn = 1;
    Engine engine(small.arena, small.model, generate_options(2), context, special, seed);
    Draft const draft = engine.run_all(round_number, {request})[0];
    ASSERT_GT(draft.tokens.size(), 3U);
    ForcedSequence const sequence = sequence_of(request, without_last(draft.tokens), {});
    auto const rows = static_cast<std::int64_t>(sequence.inputs.size());
    PackedSequences const packed(sequence.inputs, std::vector<std::int64_t>{rows});
    KvCache cache(small.arena, small.model, packed.pages());
    Workspace workspace(small.arena, small.model, rows, Keep::nothing);
    Tensor logits(small.arena, "test logits", DType::f32, {rows, 64});
    Stream stream(DeviceKind::cpu);
    small.model.logits(logits, small.model.forward(packed.batch(), cache, workspace));
    Random const random(seed, Purpose::sample);
    for (std::uint32_t t = 0; t < draft.tokens.size(); ++t) {
        std::uint64_t const bits = random.bits({round_number, 13, t, static_cast<std::uint16_t>(request.sample), 1, 0});
        float const* const row = logits.view().as<float>() + (sequence.first + t) * 64;
        EXPECT_EQ(test::sample_token(test::whole_weights({row, 64}, 64, 1.0F), {}, bits).token, draft.tokens[t]) << t;
    }
}

// Own token where the choice says so and it is not special, else gold.
std::vector<Token> mix(std::vector<Token> const& gold, std::vector<Token> const& own,
                       std::vector<std::uint8_t> const& use_own) {
    std::vector<Token> mixed(use_own.size());
    for (std::size_t t = 0; t < mixed.size(); ++t)
        mixed[t] = use_own[t] != 0 && !special.contains(own[t]) ? own[t] : gold[t];
    return mixed;
}

std::vector<DraftRequest> mixed_requests(std::uint32_t count, SamplerOptions const& sampler) {
    std::vector<DraftRequest> requests;
    for (std::uint32_t example = 0; example < count; ++example) {
        DraftRequest request = test::free_request(example);
        request.sampler = sampler;
        request.gold = test::random_tokens(example, 5, 1 + test::number(example, 6, 24));
        request.gold.back() = special.end_of_answer;
        for (std::size_t t = 1; t < request.gold.size(); ++t)
            request.use_own.push_back(test::number(example, 7000 + static_cast<std::uint32_t>(t), 2) != 0);
        requests.push_back(request);
    }
    return requests;
}

TEST(Forced, AsManyPassesAsTokensEqualMixedGeneration) {
    SmallModel small;
    for (SamplerOptions const& sampler :
         {SamplerOptions{1, 1, 0}, SamplerOptions{0.8, 0.9, 30}, SamplerOptions{0, 1, 0}}) {
        auto const requests = mixed_requests(12, sampler);
        Engine engine(small.arena, small.model, generate_options(7), context, special, seed);
        auto const drafts = engine.run_all(round_number, requests);
        ForcedPass pass(small.arena, small.model, 500, seed);
        std::int64_t moved = 0;
        std::int64_t special_drawn = 0;
        for (std::size_t i = 0; i < requests.size(); ++i) {
            DraftRequest const& request = requests[i];
            std::vector<Token> context_tokens = without_last(request.gold);
            ForcedResult result;
            // The first pass is right at the first place, every further one at one more.
            for (std::size_t number = 0; number < request.gold.size(); ++number) {
                std::vector<ForcedSequence> const one = {sequence_of(request, context_tokens, {})};
                auto const before = result.sampled;
                result = pass.run(one, &sampler, round_number, Purpose::sample)[0];
                moved += number > 0 && before != result.sampled;
                context_tokens = mix(request.gold, result.sampled, request.use_own);
            }
            EXPECT_EQ(drafts[i].tokens, result.sampled) << i;
            EXPECT_EQ(drafts[i].logprob, result.sampled_own_logprob) << i;
            EXPECT_EQ(drafts[i].sampled_logprob, result.sampled_logprob) << i;
            EXPECT_EQ(drafts[i].finish, FinishReason::end_of_answer);
            EXPECT_EQ(drafts[i].tokens.size(), request.gold.size());
            EXPECT_TRUE(result.logprob.empty());
            for (Token const token : drafts[i].tokens) special_drawn += special.contains(token);
        }
        EXPECT_GT(moved, 10) << "further passes change nothing: the test shows nothing";
        if (sampler == SamplerOptions{}) {
            EXPECT_GT(special_drawn, 0);
        }
    }
}

TEST(Forced, MixedDraftsAreTheSameForAnyStreams) {
    SmallModel small;
    auto requests = mixed_requests(20, {1, 1, 0});
    for (auto const& request : test::free_requests(10)) requests.push_back(request);
    Engine one(small.arena, small.model, generate_options(1), context, special, seed);
    Engine many(small.arena, small.model, generate_options(16), context, special, seed);
    EXPECT_EQ(test::differing(one.run_all(1, requests), many.run_all(1, requests)), 0);
}

TEST(Forced, MixedWithoutOwnTokensReadsGold) {
    SmallModel small;
    auto requests = mixed_requests(10, {1, 1, 0});
    for (DraftRequest& request : requests) std::fill(request.use_own.begin(), request.use_own.end(), 0);
    Engine engine(small.arena, small.model, generate_options(4), context, special, seed);
    auto const drafts = engine.run_all(round_number, requests);
    ForcedPass pass(small.arena, small.model, 500, seed);
    std::vector<ForcedSequence> sequences;
    for (DraftRequest const& request : requests)
        sequences.push_back(sequence_of(request, without_last(request.gold), {}));
    auto const results = pass.run(sequences, &requests[0].sampler, round_number, Purpose::sample);
    for (std::size_t i = 0; i < drafts.size(); ++i) EXPECT_EQ(drafts[i].tokens, results[i].sampled) << i;
}

TEST(Forced, MixedLongerThanTheContextIsAnError) {
    SmallModel small;
    DraftRequest request;
    request.prompt = test::random_tokens(0, 1, 90);
    request.gold.assign(11, 1);
    request.use_own.assign(10, 1);
    Engine engine(small.arena, small.model, generate_options(4), 100, special, seed);
    EXPECT_EQ(engine.run_all(1, {request})[0].tokens.size(), 11U);  // 100 inputs
    request.gold.push_back(1);
    request.use_own.push_back(1);
    EXPECT_THROW(engine.run_all(1, {request}), Error);
}

TEST(Forced, NothingToPredict) {
    SmallModel small;
    ForcedPass pass(small.arena, small.model, 100, seed);
    EXPECT_TRUE(pass.run({}, nullptr, 1, Purpose::sample).empty());
    ForcedSequence sequence;
    sequence.inputs = {1, 2, 3};
    sequence.first = 3;
    auto const results = pass.run(std::span(&sequence, 1), nullptr, 1, Purpose::sample);
    EXPECT_TRUE(results[0].argmax.empty());
}

}  // namespace
}  // namespace selvage

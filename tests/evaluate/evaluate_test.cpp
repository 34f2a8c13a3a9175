// SPDX-License-Identifier: Apache-2.0
// The whole evaluation sweep with a tiny model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "evaluate_fixture.h"
#include "score/match.h"
#include "score/rouge.h"

namespace selvage::test {
namespace {

TEST(Evaluate, HasTheMetricsOfTheRunLog) {
    World one(alone());
    auto const metrics = one.run().row.metrics;
    for (std::string const name : {"forced_nll",
                                   "forced_accuracy",
                                   "forced_agreement",
                                   "free_agreement",
                                   "free_agreement_sampled",
                                   "chance_agreement",
                                   "gap",
                                   "context_gap",
                                   "prefix_shift",
                                   "exact_match",
                                   "rouge1",
                                   "rouge2",
                                   "rougeL",
                                   "exact_match_turn1",
                                   "rouge1_turn1",
                                   "rouge2_turn2",
                                   "rougeL_turn2",
                                   "correction_rate",
                                   "corruption_rate",
                                   "numeric_gap"})
        EXPECT_TRUE(metrics.contains(name)) << name;
    EXPECT_EQ(metrics.at("numeric_gap").value, 0);
    EXPECT_EQ(metrics.at("numeric_gap_mean").value, 0);
    EXPECT_EQ(metrics.at("context_gap").by_position.size(), 3u);
    EXPECT_EQ(metrics.at("prefix_shift").by_position.size(), 4u);
}

struct Plain {
    std::vector<double> nll;
    std::vector<Token> argmax;
};
// The predictions of `targets` at the end of `tokens`: one sequence by itself, the soft-max in double.
Plain predict(World& w, std::vector<Token> const& tokens, std::vector<Token> const& targets) {
    auto const rows = static_cast<std::int64_t>(tokens.size());
    KvCache cache(w.arena, w.model, PackedSequences::pages_for(rows, 1));
    Workspace workspace(w.arena, w.model, rows, Keep::nothing);
    std::int64_t const lengths[] = {rows};
    PackedSequences const packed(tokens, lengths);
    TensorView const hidden = w.model.forward(packed.batch(), cache, workspace);
    std::int64_t const vocabulary = w.model.config().vocabulary;
    Tensor logits(w.arena, "test", DType::f32, {rows, vocabulary});
    w.model.logits(logits, hidden);
    Plain out;
    std::int64_t const first = rows - static_cast<std::int64_t>(targets.size());
    for (std::int64_t row = first; row < rows; ++row) {
        float const* const l = logits.view().as<float>() + row * vocabulary;
        double const largest = *std::max_element(l, l + vocabulary);
        double sum = 0;
        for (std::int64_t v = 0; v < vocabulary; ++v) sum += std::exp(l[v] - largest);
        out.argmax.push_back(static_cast<Token>(std::max_element(l, l + vocabulary) - l));
        out.nll.push_back(std::log(sum) + largest - l[targets[static_cast<std::size_t>(row - first)]]);
    }
    return out;
}

std::vector<Draft> drafts_of(World& w, std::vector<std::vector<Token>> const& prompts, double temperature,
                             std::int32_t sample) {
    Engine engine(w.arena, w.model, w.generation, context, w.tokenizer->special(), 11);
    std::vector<DraftRequest> requests;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        DraftRequest request;
        request.example = static_cast<std::int64_t>(i);
        request.sample = sample;
        request.prompt = prompts[i];
        request.max_new_tokens =
            std::min(w.generation.max_new_tokens, context - static_cast<std::int64_t>(prompts[i].size()));
        request.sampler.temperature = temperature;
        request.purpose = Purpose::evaluate_sample;
        requests.push_back(request);
    }
    return engine.run_all(2, requests);
}

// The straightforward way: every figure anew from whole sequences and from Engine::run_all.
TEST(Evaluate, AgreesWithAPlainComputation) {
    World w(alone());
    learn_half(w);
    auto const metrics = w.run().row.metrics;
    std::vector<Example> examples;
    std::vector<std::vector<Token>> prompts;
    for (std::int64_t i = 0; i < w.corpus.size(); ++i) {
        examples.push_back(w.corpus.example(i));
        prompts.push_back(examples.back().prompt);
    }
    auto const greedy = drafts_of(w, prompts, 0, 0);
    auto const sampled = drafts_of(w, prompts, 1, 1);
    Token const end = w.tokenizer->special().end_of_answer;

    std::vector<std::vector<Token>> corrections;
    double nll = 0, tokens = 0, difference = 0, shared = 0, free = 0, free_sampled = 0, rouge = 0, forced = 0,
           chance = 0;
    for (std::size_t i = 0; i < examples.size(); ++i) {
        auto const& [index, prompt, gold] = examples[i];
        auto const on_gold = predict(w, joined(prompt, gold, gold.size() - 1), gold);
        for (double v : on_gold.nll) nll += v;
        tokens += static_cast<double>(gold.size());
        auto own = greedy[i].tokens;
        if (own.back() == end) own.pop_back();
        std::size_t const positions = std::min(gold.size(), own.size() + 1);
        auto const on_own = predict(w, joined(prompt, own, positions - 1),
                                    {gold.begin(), gold.begin() + static_cast<std::ptrdiff_t>(positions)});
        for (std::size_t t = 0; t < positions; ++t) difference += on_own.nll[t] - on_gold.nll[t];
        shared += static_cast<double>(positions);
        std::string const text = w.tokenizer->decode(gold);
        auto const ended = std::find(on_gold.argmax.begin(), on_gold.argmax.end(), end);
        forced += score::lcs_f1(w.tokenizer->decode({on_gold.argmax.begin(), ended}), text);
        auto const other = static_cast<std::size_t>(chance_partner(static_cast<std::int64_t>(i), 9, 11));
        chance += score::lcs_f1(w.tokenizer->decode(own), w.tokenizer->decode(examples[other].answer));
        free += score::lcs_f1(w.tokenizer->decode(own), text);
        free_sampled += score::lcs_f1(w.tokenizer->decode(sampled[i].tokens), text);
        rouge += score::rouge_l(w.tokenizer->decode(own), text);
        // Prompt, marker and 80 positions leave example 5 no more: 14 of 28 are kept for the new answer.
        if (i == 5) own.resize(std::min<std::size_t>(own.size(), 14));
        own.insert(own.end(), w.marker.begin(), w.marker.end());
        corrections.push_back(joined(prompt, own, own.size()));
    }
    auto const corrected = drafts_of(w, corrections, 0, 0);
    double rouge_turn = 0;
    for (std::size_t i = 0; i < examples.size(); ++i)
        rouge_turn += score::rouge_1(w.tokenizer->decode(corrected[i].tokens), w.tokenizer->decode(examples[i].answer));
    auto const count = static_cast<double>(examples.size());
    EXPECT_EQ(metrics.at("free_agreement").value, free / count);
    EXPECT_EQ(metrics.at("forced_agreement").value, forced / count);
    EXPECT_EQ(metrics.at("chance_agreement").value, chance / count);
    EXPECT_EQ(metrics.at("free_agreement_sampled").value, free_sampled / count);
    EXPECT_EQ(metrics.at("rougeL").value, rouge / count);
    EXPECT_EQ(metrics.at("rouge1_turn1").value, rouge_turn / count);
    // float logits and sums over 320 of them: a few units of 2^-24 times |logit| < 8 per token.
    EXPECT_NEAR(metrics.at("forced_nll").value, nll / tokens, 1e-5);
    EXPECT_NEAR(metrics.at("context_gap").value, difference / shared, 1e-5);
    EXPECT_NE(metrics.at("context_gap").value, 0);
    for (std::string const name :
         {"forced_agreement", "free_agreement", "free_agreement_sampled", "chance_agreement"}) {
        EXPECT_GT(metrics.at(name).value, 0) << name;
        EXPECT_LT(metrics.at(name).value, 1) << name;
    }
}

// Every metric of a model that answers perfectly is known.
TEST(Evaluate, OfAModelThatKnowsTheAnswers) {
    World w(alone());
    memorise(w, 250);
    auto const metrics = w.run().row.metrics;
    for (std::string const name : {"forced_accuracy", "forced_agreement", "free_agreement", "exact_match", "rouge1",
                                   "rougeL", "prefix_agreement_gold", "prefix_agreement_own"})
        EXPECT_EQ(metrics.at(name).value, 1) << name;
    // Own and gold contexts are the same tokens, so their log-probabilities are the same bits.
    for (std::string const name : {"gap", "context_gap", "prefix_shift", "prefix_shift_nll", "numeric_gap"}) {
        EXPECT_EQ(metrics.at(name).value, 0) << name;
        EXPECT_EQ(metrics.at(name).high, 0) << name;
    }
    EXPECT_LT(metrics.at("forced_nll").value, 0.1);
    EXPECT_LT(metrics.at("chance_agreement").value, 0.5);
    for (std::string const name : {"exact_match_turn1", "exact_match_turn2", "rouge1_turn1", "rougeL_turn2"})
        EXPECT_EQ(metrics.at(name).value, 1) << name;
    EXPECT_EQ(metrics.at("corruption_rate").value, 0);
    EXPECT_TRUE(std::isnan(metrics.at("correction_rate").value));
    // Answers with gold text behind 4, 8, 12 and 16 tokens.
    EXPECT_EQ(metrics.at("prefix_shift").count_by_position, (std::vector<std::int64_t>{9, 7, 6, 3}));
}

TEST(Evaluate, OfEmptyAnswers) {
    World w(alone(), {{"say nothing:", ""}, {"a:", "b"}});
    memorise(w, 60);
    auto const metrics = w.run().row.metrics;
    EXPECT_EQ(metrics.at("forced_accuracy").value, 1);
    EXPECT_EQ(metrics.at("free_agreement").value, 1);
    EXPECT_EQ(metrics.at("exact_match").value, 1);
    EXPECT_EQ(metrics.at("context_gap").value, 0);
    EXPECT_EQ(metrics.at("numeric_gap").value, 0);
    EXPECT_TRUE(std::isnan(metrics.at("prefix_shift").value));
}

TEST(Evaluate, RefusesBadOptions) {
    World w(world());
    w.options.extract = "first_line";
    EXPECT_THROW(w.run(), Error);
    w.options.extract = "all";
    w.options.prefix = 0;
    EXPECT_THROW(w.run(), Error);
}

TEST(Evaluate, ProgressRisesToOne) {
    World w(alone());
    double last = 0;
    w.run({.progress =
               [&](double done) {
                   EXPECT_GE(done, last);
                   last = done;
                   return true;
               },
           .known = {},
           .made = {}});
    EXPECT_EQ(last, 1);
}

TEST(Evaluate, ChoosesTheSameExamplesEveryTime) {
    EXPECT_EQ(choose_examples(3, 0), (std::vector<std::int64_t>{0, 1, 2}));
    EXPECT_EQ(choose_examples(3, 5), (std::vector<std::int64_t>{0, 1, 2}));
    auto const some = choose_examples(1000, 100);
    EXPECT_EQ(std::set<std::int64_t>(some.begin(), some.end()).size(), 100u);
    EXPECT_TRUE(std::is_sorted(some.begin(), some.end()));
    EXPECT_EQ(choose_examples(1000, 100), some);
    auto const more = choose_examples(1000, 200);
    EXPECT_TRUE(std::includes(more.begin(), more.end(), some.begin(), some.end()));
}

TEST(Evaluate, ChancePartnerIsAnother) {
    EXPECT_EQ(chance_partner(0, 1, 1), -1);
    std::set<std::int64_t> seen;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        auto const other = chance_partner(2, 4, seed);
        EXPECT_NE(other, 2);
        seen.insert(other);
    }
    EXPECT_EQ(seen, (std::set<std::int64_t>{0, 1, 3}));
}

}  // namespace
}  // namespace selvage::test

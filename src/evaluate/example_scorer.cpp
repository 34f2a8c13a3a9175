// SPDX-License-Identifier: Apache-2.0
#include "evaluate/example_scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "score/rouge.h"
#include "text/correction.h"

namespace selvage {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t least_pass_tokens = 1024;

// Reads prompt and `context`, predicts the first context + 1 tokens of the gold answer.
ForcedSequence forced_sequence(Example const& example, std::span<Token const> context) {
    ForcedSequence out;
    out.example = example.index;
    out.inputs = example.prompt;
    out.inputs.insert(out.inputs.end(), context.begin(), context.end());
    out.first = static_cast<std::int64_t>(example.prompt.size()) - 1;
    out.targets.assign(example.answer.begin(),
                       example.answer.begin() + static_cast<std::ptrdiff_t>(context.size()) + 1);
    return out;
}

ScoredSequence drafted_sequence(Example const& example, Draft const& draft) {
    ScoredSequence out;
    out.tokens = example.prompt;
    out.tokens.insert(out.tokens.end(), draft.tokens.begin(), draft.tokens.end());
    out.answer_start = static_cast<std::int64_t>(example.prompt.size());
    return out;
}

// A NaN on either side makes the largest gap NaN.
void add_numeric_gap(ExampleScores& out, std::span<float const> generated, std::span<float const> trained) {
    SELVAGE_CHECK(generated.size() == trained.size(), "{} and {} log-probabilities", generated.size(), trained.size());
    for (std::size_t t = 0; t < generated.size(); ++t) {
        double const gap = std::fabs(static_cast<double>(generated[t]) - static_cast<double>(trained[t]));
        out.numeric_gap_sum += gap;
        if (std::isnan(gap) || gap > out.numeric_gap) out.numeric_gap = gap;
        ++out.numeric_tokens;
    }
}

double nll_sum(std::span<float const> logprob) {
    double total = 0;
    for (float const value : logprob) total -= static_cast<double>(value);
    return total;
}

std::vector<double> negated(std::span<float const> logprob) {
    std::vector<double> out;
    for (float const value : logprob) out.push_back(-static_cast<double>(value));
    return out;
}

}  // namespace

std::span<Token const> forced_answer(std::span<Token const> argmax, Token end_of_answer) {
    auto const end = std::find(argmax.begin(), argmax.end(), end_of_answer);
    return argmax.first(static_cast<std::size_t>(end - argmax.begin()));
}

ExampleScorer::ExampleScorer(Arena& arena, Model& model, Tokenizer const& tokenizer, score::Extract extract,
                             std::int64_t prefix, std::int64_t context, std::uint64_t seed)
    : tokenizer_(tokenizer),
      extract_(extract),
      prefix_(prefix),
      pass_tokens_(std::max(context, least_pass_tokens)),
      forced_(arena, model, pass_tokens_, seed),
      training_(arena, model, context) {}

std::vector<ExampleScores> ExampleScorer::score(std::span<ExampleAnswers const> answers,
                                                std::span<std::vector<Token> const> other_gold) {
    Token const end = tokenizer_.special().end_of_answer;
    std::vector<ForcedSequence> forced;
    std::vector<ScoredSequence> drafted;
    for (ExampleAnswers const& one : answers) {
        std::span<Token const> const gold = one.example.answer;
        std::span<Token const> const own = without_end(one.greedy.tokens, end);
        forced.push_back(forced_sequence(one.example, gold.first(gold.size() - 1)));
        forced.push_back(forced_sequence(one.example, own.first(std::min(own.size(), gold.size() - 1))));
        drafted.push_back(drafted_sequence(one.example, one.greedy));
        drafted.push_back(drafted_sequence(one.example, one.sampled));
    }
    auto const results = forced_.run(forced, nullptr, 0, Purpose::evaluate_sample);
    auto const trained = training_.run(drafted);

    std::vector<ExampleScores> out(answers.size());
    for (std::size_t i = 0; i < answers.size(); ++i) {
        out[i].example = answers[i].example.index;
        score_forced(out[i], answers[i], results[2 * i], results[2 * i + 1]);
        score_texts(out[i], answers[i], other_gold[i]);
        add_numeric_gap(out[i], answers[i].greedy.logprob, trained[2 * i]);
        add_numeric_gap(out[i], answers[i].sampled.logprob, trained[2 * i + 1]);
        out[i].generated_tokens = answers[i].generated_tokens;
        out[i].scored_tokens = out[i].numeric_tokens + static_cast<std::int64_t>(out[i].forced_nll.size()) +
                               static_cast<std::int64_t>(out[i].own_nll.size());
    }
    return out;
}

std::string ExampleScorer::text(std::span<Token const> tokens) const { return tokenizer_.decode(tokens); }

void ExampleScorer::score_forced(ExampleScores& out, ExampleAnswers const& answers, ForcedResult const& gold,
                                 ForcedResult const& own) const {
    std::vector<Token> const& answer = answers.example.answer;
    out.forced_nll = negated(gold.logprob);
    out.own_nll = negated(own.logprob);
    for (std::size_t t = 0; t < answer.size(); ++t) out.forced_correct += gold.argmax[t] == answer[t];
    Token const end = tokenizer_.special().end_of_answer;
    out.forced_agreement = score::lcs_f1(text(forced_answer(gold.argmax, end)), text(answer));
}

void ExampleScorer::score_texts(ExampleScores& out, ExampleAnswers const& answers,
                                std::vector<Token> const& other_gold) const {
    std::string const gold = text(answers.example.answer);
    std::string const greedy = text(answers.greedy.tokens);
    out.free_agreement = score::lcs_f1(greedy, gold);
    out.sampled_agreement = score::lcs_f1(text(answers.sampled.tokens), gold);
    out.chance_agreement = other_gold.empty() ? nan : score::lcs_f1(greedy, text(other_gold));
    for (std::vector<Token> const& turn : answers.turns) {
        std::string const answer = text(turn);
        out.turns.push_back({score::exact_match(answer, gold, extract_) ? 1.0 : 0.0, score::rouge_1(answer, gold),
                             score::rouge_2(answer, gold), score::rouge_l(answer, gold)});
    }
    for (std::int64_t k = 0; k < prefix_lengths; ++k) out.prefixes.push_back(score_prefix(answers, k));
}

PrefixScore ExampleScorer::score_prefix(ExampleAnswers const& answers, std::int64_t k) const {
    PrefixScore out;
    auto const& continuation = answers.continuations[static_cast<std::size_t>(k)];
    if (!continuation) return out;
    auto const l = static_cast<std::size_t>((k + 1) * prefix_);
    std::string const rest = text(std::span(answers.example.answer).subspan(l));
    auto const own = std::span<Token const>(answers.greedy.tokens).subspan(l);
    out.counts = true;
    out.gold_agreement = score::lcs_f1(text(continuation->tokens), rest);
    out.own_agreement = score::lcs_f1(text(own), rest);
    out.gold_nll = nll_sum(continuation->logprob);
    out.own_nll = nll_sum(std::span<float const>(answers.greedy.logprob).subspan(l));
    out.gold_tokens = static_cast<std::int64_t>(continuation->tokens.size());
    out.own_tokens = static_cast<std::int64_t>(own.size());
    return out;
}

}  // namespace selvage

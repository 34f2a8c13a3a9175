// SPDX-License-Identifier: Apache-2.0
#include "evaluate/evaluator.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/permutation.h"
#include "base/timer.h"
#include "evaluate/example_scorer.h"
#include "evaluate/metrics.h"
#include "generate/group_queue.h"

namespace selvage {
namespace {

score::Extract extract_of(std::string const& name) {
    if (name == "all") return score::Extract::all;
    if (name == "last_line") return score::Extract::last_line;
    if (name == "last_number") return score::Extract::last_number;
    fail(ExitCode::bad_data, "evaluate.extract is \"{}\", use \"all\", \"last_line\" or \"last_number\"", name);
}

void validate(EvaluateOptions const& options, std::int64_t max_new_tokens) {
    if (options.turns < 0 || options.turns > 250)
        fail(ExitCode::bad_data, "evaluate.turns is {}, use 0 to 250", options.turns);
    if (options.bins < 1 || options.bins > 48)
        fail(ExitCode::bad_data, "evaluate.bins is {}, use 1 to 48", options.bins);
    if (max_new_tokens < 1) fail(ExitCode::bad_data, "generate.max_new_tokens is {}, use 1 or more", max_new_tokens);
    if (options.prefix < 1) fail(ExitCode::bad_data, "evaluate.prefix is {}, use 1 or more", options.prefix);
}

// Takes items off the queue, keeps the engine busy with their requests and scores examples as they finish.
class EvaluationSweep {
  public:
    EvaluationSweep(Arena& arena, Communicator& data, Model& model, Corpus const& corpus, Tokenizer const& tokenizer,
                    EvaluateOptions const& options, GenerateOptions const& generation, AnswerOptions answer_options,
                    std::vector<std::int64_t> items, std::uint64_t seed, EvaluationCalls const& calls)
        : data_(data),
          corpus_(corpus),
          items_(std::move(items)),
          seed_(seed),
          calls_(calls),
          context_(answer_options.context),
          pipeline_(std::move(answer_options)),
          scorer_(arena, model, tokenizer, extract_of(options.extract), options.prefix, context_, seed),
          engine_(arena, model, generation, context_, tokenizer.special(), seed),
          // Two drafts an example: half the streams asked ahead fill them all.
          queue_(data, &model.tensor_axis().ranks(), static_cast<std::int64_t>(items_.size()),
                 std::max<std::int64_t>(1, generation.streams / 2)) {}

    void run(std::int64_t round) {
        engine_.run(round, {.next = [this] { return next(); },
                            .exhausted = [this] { return queue_.exhausted() && pipeline_.idle(); },
                            .done =
                                [this](Draft&& draft) {
                                    if (calls_.made) calls_.made(draft);
                                    pipeline_.take(std::move(draft));
                                },
                            .progress = [this] { return step(); },
                            .token = {}});
        collect();
        while (!stopped_ && !waiting_.empty()) score_some();
        queue_.finish();
    }

    std::vector<ExampleScores> const& scores() const { return scores_; }
    bool stopped() const { return stopped_; }
    double busy_seconds() const { return engine_.counters().busy_seconds + scoring_seconds_; }

  private:
    std::optional<DraftRequest> next() {
        for (;;) {
            while (auto request = pipeline_.next()) {
                Draft const* const known = calls_.known ? calls_.known(*request) : nullptr;
                if (known == nullptr) return request;
                pipeline_.take(Draft(*known));
            }
            auto const item = queue_.next();
            if (!item) return std::nullopt;
            pipeline_.begin(*item, corpus_.example(items_[static_cast<std::size_t>(*item)]));
        }
    }

    bool step() {
        collect();
        while (!stopped_ && waiting_tokens_ >= scorer_.pass_tokens()) score_some();
        return report();
    }

    void collect() {
        for (ExampleAnswers& one : pipeline_.take_finished()) {
            waiting_tokens_ += tokens_to_score(one);
            waiting_.push_back(std::move(one));
        }
    }

    static std::int64_t tokens_to_score(ExampleAnswers const& one) {
        return static_cast<std::int64_t>(one.example.prompt.size() + one.example.answer.size());
    }

    // The oldest of what waits, about one pass of it.
    void score_some() {
        Timer const timer;
        std::vector<ExampleAnswers> batch;
        std::vector<std::vector<Token>> other_gold;
        for (std::int64_t tokens = 0; !waiting_.empty() && tokens < scorer_.pass_tokens();) {
            tokens += tokens_to_score(waiting_.front());
            batch.push_back(std::move(waiting_.front()));
            waiting_.pop_front();
            auto const other = chance_partner(batch.back().item, static_cast<std::int64_t>(items_.size()), seed_);
            other_gold.push_back(other < 0 ? std::vector<Token>{}
                                           : corpus_.example(items_[static_cast<std::size_t>(other)]).answer);
            waiting_tokens_ -= tokens_to_score(batch.back());
        }
        auto scored = scorer_.score(batch, other_gold);
        std::move(scored.begin(), scored.end(), std::back_inserter(scores_));
        scoring_seconds_ += timer.seconds();
        report();
    }

    bool report() {
        auto const all = static_cast<double>(std::max<std::size_t>(1, items_.size()));
        double const done = static_cast<double>(scores_.size()) * data_.size() / all;
        stopped_ = !queue_.progress(!calls_.progress || calls_.progress(std::min(1.0, done)));
        return !stopped_;
    }

    Communicator& data_;
    Corpus const& corpus_;
    std::vector<std::int64_t> items_;
    std::uint64_t seed_;
    EvaluationCalls const& calls_;
    std::int64_t context_;
    AnswerPipeline pipeline_;
    ExampleScorer scorer_;
    Engine engine_;
    GroupQueue queue_;
    std::deque<ExampleAnswers> waiting_;  // answered, not scored yet
    std::int64_t waiting_tokens_ = 0;
    std::vector<ExampleScores> scores_;
    double scoring_seconds_ = 0;
    bool stopped_ = false;
};

// All ranks' scores on rank 0, in the order of the examples.
std::vector<ExampleScores> gather_scores(Communicator& data, std::span<ExampleScores const> mine) {
    std::vector<ExampleScores> all;
    for (auto const& bytes : gather_bytes(data, encode_scores(mine), 0)) {
        auto part = decode_scores(bytes);
        std::move(part.begin(), part.end(), std::back_inserter(all));
    }
    std::sort(all.begin(), all.end(), [](auto const& a, auto const& b) { return a.example < b.example; });
    return all;
}

}  // namespace

std::vector<std::int64_t> choose_examples(std::int64_t count, std::int64_t wanted) {
    std::vector<std::int64_t> out;
    if (wanted <= 0 || wanted >= count) {
        out.resize(static_cast<std::size_t>(count));
        std::iota(out.begin(), out.end(), 0);
        return out;
    }
    // Stream 1: the draws of chance_partner are stream 0.
    Permutation const permutation(static_cast<std::uint64_t>(count), 0, Purpose::chance, 1);
    for (std::int64_t i = 0; i < wanted; ++i)
        out.push_back(static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(i))));
    std::sort(out.begin(), out.end());
    return out;
}

std::int64_t chance_partner(std::int64_t item, std::int64_t items, std::uint64_t seed) {
    if (items < 2) return -1;
    double const u = Random(seed, Purpose::chance).uniform({0, static_cast<std::uint32_t>(item)});
    auto const other = static_cast<std::int64_t>(u * static_cast<double>(items - 1));
    return other < item ? other : other + 1;
}

EvaluationResult evaluate(Arena& arena, ProcessGrid const& grid, Model& model, Corpus const& heldout,
                          Tokenizer const& tokenizer, std::span<Token const> marker, EvaluateOptions const& options,
                          GenerateOptions const& generation, std::int64_t context, std::uint64_t seed,
                          std::int64_t step, std::int64_t round, EvaluationCalls const& calls) {
    validate(options, generation.max_new_tokens);
    Communicator& data = grid.data();
    EvaluationResult result;
    std::vector<std::int64_t> items = choose_examples(heldout.size(), options.examples);
    result.skipped = static_cast<std::int64_t>(std::erase_if(items, [&](std::int64_t i) {
        return heldout.prompt_tokens(i) < 1 || heldout.answer_tokens(i) < 1 ||
               heldout.prompt_tokens(i) + heldout.answer_tokens(i) > context;
    }));

    AnswerOptions const answers = {options.turns,
                                   options.prefix,
                                   context,
                                   generation.max_new_tokens,
                                   {marker.begin(), marker.end()},
                                   tokenizer.special().end_of_answer};
    EvaluationSweep sweep(arena, data, model, heldout, tokenizer, options, generation, answers, std::move(items), seed,
                          calls);
    sweep.run(round);

    for (ExampleScores const& one : sweep.scores()) result.tokens += one.generated_tokens + one.scored_tokens;
    result.tokens = sum_over(data, result.tokens);
    result.examples = sum_over(data, static_cast<std::int64_t>(sweep.scores().size()));
    result.stopped = max_over(data, sweep.stopped() ? 1 : 0) != 0;
    result.busy_seconds = sweep.busy_seconds();
    if (result.stopped) return result;
    std::vector<ExampleScores> const scores = gather_scores(data, sweep.scores());
    if (data.rank() != 0) return result;
    result.row.step = step;
    result.row.round = round;
    result.row.metrics =
        aggregate_scores(scores, options.bins, prefix_lengths, options.turns, options.right_rougeL, seed);
    return result;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "sweep/generation_sweep.h"

#include <algorithm>
#include <iterator>

#include "base/timer.h"
#include "generate/distributed.h"
#include "generate/forced.h"
#include "sweep/progress.h"
#include "weave/bash.h"
#include "weave/weave.h"

namespace selvage {
namespace {

struct Item {
    Example const* example = nullptr;
    std::int32_t sample = 0;
};

struct Items {
    std::vector<Item> forced;     // teacher-forced passes over the gold answer
    std::vector<Item> generated;  // token by token: free drafts, and BASH's mixed ones
};

// One of `parts` contiguous parts of about as many tokens.
std::span<Item const> part_by_tokens(std::span<Item const> items, int part, int parts) {
    auto const tokens_of = [](Item const& item) {
        return static_cast<std::int64_t>(item.example->prompt.size() + item.example->answer.size());
    };
    std::int64_t total = 0;
    for (Item const& item : items) total += tokens_of(item);
    auto const begin_of = [&](int p) {
        std::size_t i = 0;
        for (std::int64_t sum = 0; i < items.size() && sum * parts < total * p; ++i) sum += tokens_of(items[i]);
        return i;
    };
    std::size_t const begin = begin_of(part);
    return items.subspan(begin, begin_of(part + 1) - begin);
}

SamplerOptions bash_sampler(weave::BashOptions const& bash) { return {bash.temperature, bash.top_p, bash.top_k}; }

class Sweep {
  public:
    Sweep(Arena& arena, ProcessGrid const& grid, Model& model, JobOptions const& options, weave::WeaveMethod method,
          std::int64_t round, std::int64_t schedule_rounds, SpecialTokens const& special, DraftJournal& journal,
          std::function<bool()> const& keep_going)
        : arena_(arena),
          grid_(grid),
          model_(model),
          options_(options),
          method_(method),
          round_(round),
          progress_of_run_(weave::schedule_progress(round, schedule_rounds)),
          special_(special),
          journal_(journal),
          keep_going_(keep_going) {}

    Items sort_out(std::span<Example const> examples) const {
        Items items;
        for (Example const& example : examples) {
            bool const forced = is_bash(example) && options_.weave.bash.draft == weave::BashDraft::forced;
            for (std::int32_t sample = 0; sample < options_.generate.samples; ++sample)
                if (journal_.find(example.index, sample) == nullptr)
                    (forced ? items.forced : items.generated).push_back({&example, sample});
        }
        // Long answers first, so that the tail of the sweep is short. The gold length is only a hint.
        std::stable_sort(items.generated.begin(), items.generated.end(), [](Item const& a, Item const& b) {
            return a.example->answer.size() > b.example->answer.size();
        });
        return items;
    }

    void run_forced(std::span<Item const> items, std::optional<double> after, std::vector<Draft>& drafts) {
        if (items.empty()) return;
        Progress progress(fmt::format("round {} forced pass", round_), static_cast<std::int64_t>(items.size()),
                          "drafts", grid_.is_root(), after);
        Timer const timer;
        std::int64_t const rows = std::max(options_.data.context, options_.train.micro_batch_tokens);
        ForcedPass pass(arena_, model_, rows, options_.run.seed);
        constexpr std::size_t at_once = 64;              // sequences between two progress reports
        Communicator& group = grid_.axis(Axis::tensor);  // its ranks run every pass together
        auto const keep_going = [&] { return min_over(group, keep_going_() ? 1 : 0) != 0; };
        for (std::size_t begin = 0; begin < items.size() && keep_going(); begin += at_once) {
            std::size_t const end = std::min(items.size(), begin + at_once);
            std::vector<Draft> part = forced_drafts(pass, items.subspan(begin, end - begin));
            for (Draft const& draft : part) journal_.add(draft);
            std::move(part.begin(), part.end(), std::back_inserter(drafts));
            progress.update(static_cast<double>(end));
        }
        busy_seconds_ += timer.seconds();
    }

    void run_generated(std::span<Item const> items, std::optional<double> after, std::vector<Draft>& drafts) {
        if (items.empty()) return;
        Progress progress(fmt::format("round {} generation", round_), static_cast<std::int64_t>(items.size()), "drafts",
                          grid_.is_root(), after);
        Engine engine(arena_, model_, options_.generate, options_.data.context, special_,
                      static_cast<std::uint64_t>(options_.run.seed));
        DistributedWork work;
        work.items = static_cast<std::int64_t>(items.size());
        work.request = [&](std::int64_t item) { return request(items[static_cast<std::size_t>(item)]); };
        work.finished = [&](Draft const& draft) { journal_.add(draft); };
        work.progress = [&](std::int64_t done) {
            progress.update(static_cast<double>(done * grid_.data().size()));
            return keep_going_();
        };
        DistributedDrafts part =
            run_distributed(engine, grid_.data(), round_, options_.generate.streams, work, &grid_.axis(Axis::tensor));
        std::move(part.drafts.begin(), part.drafts.end(), std::back_inserter(drafts));
        busy_seconds_ += part.busy_seconds;
    }

    double busy_seconds() const { return busy_seconds_; }

  private:
    bool is_bash(Example const& example) const {
        return weave::method_of_example(options_.weave, method_, options_.run.seed, round_, example.index) ==
               weave::WeaveMethod::bash;
    }

    std::vector<std::uint8_t> coins(Item const& item) const {
        return weave::bash_coins(options_.weave.bash, options_.run.seed, round_, progress_of_run_, item.example->index,
                                 item.sample, static_cast<std::int64_t>(item.example->answer.size()));
    }

    DraftRequest request(Item const& item) const {
        DraftRequest request;
        request.example = item.example->index;
        request.sample = item.sample;
        request.prompt = item.example->prompt;
        request.max_new_tokens = options_.generate.max_new_tokens;
        request.sampler = options_.generate.sampler;
        if (is_bash(*item.example)) {
            request.sampler = bash_sampler(options_.weave.bash);
            if (options_.weave.bash.draft == weave::BashDraft::mixed) {
                request.gold = item.example->answer;
                request.use_own = coins(item);
                request.max_new_tokens = static_cast<std::int64_t>(request.gold.size());
            } else {
                // Only the positions of the gold answer can be used.
                request.max_new_tokens =
                    std::min(request.max_new_tokens, static_cast<std::int64_t>(item.example->answer.size()));
            }
        }
        return request;
    }

    // Pass i samples every answer position from p(. | x, z^(i-1)); z^0 is gold.
    std::vector<Draft> forced_drafts(ForcedPass& pass, std::span<Item const> items) const {
        SamplerOptions const sampler = bash_sampler(options_.weave.bash);
        std::vector<ForcedSequence> sequences;
        for (Item const& item : items) {
            ForcedSequence sequence{item.example->index,
                                    item.sample,
                                    0,
                                    item.example->prompt,
                                    static_cast<std::int64_t>(item.example->prompt.size()) - 1,
                                    {}};
            sequence.inputs.insert(sequence.inputs.end(), item.example->answer.begin(), item.example->answer.end() - 1);
            sequences.push_back(std::move(sequence));
        }
        std::vector<ForcedResult> results;
        for (std::int64_t i = 1; i <= options_.weave.bash.passes; ++i) {
            if (i > 1) {
                for (std::size_t s = 0; s < items.size(); ++s) {
                    Example const& example = *items[s].example;
                    auto const mixed =
                        weave::bash_mix(example.answer, results[s].sampled, coins(items[s]), special_, nullptr);
                    std::copy(mixed.begin(), mixed.end(),
                              sequences[s].inputs.begin() + static_cast<std::ptrdiff_t>(example.prompt.size()));
                }
            }
            results = pass.run(sequences, &sampler, round_, Purpose::sample);
        }
        std::vector<Draft> drafts;
        for (std::size_t s = 0; s < items.size(); ++s) {
            bool const ended = results[s].sampled.back() == special_.end_of_answer;
            drafts.push_back({items[s].example->index, items[s].sample, 0,
                              ended ? FinishReason::end_of_answer : FinishReason::length, std::move(results[s].sampled),
                              std::move(results[s].sampled_own_logprob), std::move(results[s].sampled_logprob)});
        }
        return drafts;
    }

    Arena& arena_;
    ProcessGrid const& grid_;
    Model& model_;
    JobOptions const& options_;
    weave::WeaveMethod method_;
    std::int64_t round_;
    double progress_of_run_;
    SpecialTokens special_;
    DraftJournal& journal_;
    std::function<bool()> const& keep_going_;
    double busy_seconds_ = 0;
};

}  // namespace

GenerationResult generation_sweep(Arena& arena, ProcessGrid const& grid, Model& model,
                                  std::span<Example const> examples, JobOptions const& options,
                                  weave::WeaveMethod method, std::int64_t round, std::int64_t schedule_rounds,
                                  SpecialTokens const& special, DraftJournal& journal, std::optional<double> after,
                                  std::function<bool()> const& keep_going) {
    Communicator& data = grid.data();
    Sweep sweep(arena, grid, model, options, method, round, schedule_rounds, special, journal, keep_going);
    Items const items = sweep.sort_out(examples);
    std::vector<Draft> mine;
    model.pack(arena);
    sweep.run_forced(part_by_tokens(items.forced, data.rank(), data.size()),
                     items.generated.empty() ? after : std::nullopt, mine);
    sweep.run_generated(items.generated, after, mine);
    model.unpack();

    GenerationResult result;
    result.busy = busy_ranks(data, sweep.busy_seconds());
    result.stopped = sum_over(data, static_cast<std::int64_t>(mine.size())) <
                     static_cast<std::int64_t>(items.forced.size() + items.generated.size());
    result.drafts = gather_drafts(data, mine);
    if (data.rank() == 0) {
        std::vector<Draft> found = journal.take_found();
        std::move(found.begin(), found.end(), std::back_inserter(result.drafts));
    }
    sort_drafts(result.drafts);
    for (Draft const& draft : result.drafts) result.tokens += static_cast<std::int64_t>(draft.tokens.size());
    return result;
}

}  // namespace selvage

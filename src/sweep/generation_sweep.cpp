// SPDX-License-Identifier: Apache-2.0
#include "sweep/generation_sweep.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "base/bytes.h"
#include "base/timer.h"
#include "generate/forced.h"
#include "generate/work_queue.h"
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

SamplerOptions bash_sampler(weave::BashOptions const& bash) { return {bash.temperature, bash.top_p, bash.top_k}; }

class Sweep {
  public:
    Sweep(Arena& arena, ProcessGrid const& grid, Model& model, JobOptions const& options, weave::WeaveMethod method, std::int64_t round,
          std::int64_t schedule_rounds, SpecialTokens const& special)
        : arena_(arena),
          grid_(grid),
          model_(model),
          options_(options),
          method_(method),
          round_(round),
          progress_of_run_(weave::schedule_progress(round, schedule_rounds)),
          special_(special) {}

    Items sort_out(std::span<Example const> examples) const {
        Items items;
        for (Example const& example : examples) {
            bool const forced = is_bash(example) && options_.weave.bash.draft == weave::BashDraft::forced;
            for (std::int32_t sample = 0; sample < options_.generate.samples; ++sample)
                (forced ? items.forced : items.generated).push_back({&example, sample});
        }
        // Long answers first, so that the tail of the sweep is short. The gold length is only a hint.
        std::stable_sort(items.generated.begin(), items.generated.end(),
                         [](Item const& a, Item const& b) { return a.example->answer.size() > b.example->answer.size(); });
        return items;
    }

    void run_forced(std::span<Item const> items, Progress& progress, std::vector<Draft>& drafts) {
        if (items.empty()) return;
        std::int64_t const rows = std::max(options_.data.context, options_.train.micro_batch_tokens);
        ForcedPass pass(arena_, model_, rows, options_.run.seed);
        constexpr std::size_t at_once = 64;  // sequences between two progress reports
        for (std::size_t begin = 0; begin < items.size(); begin += at_once) {
            std::size_t const end = std::min(items.size(), begin + at_once);
            std::vector<Draft> part = forced_drafts(pass, items.subspan(begin, end - begin));
            std::move(part.begin(), part.end(), std::back_inserter(drafts));
            progress.update(static_cast<double>(end));
        }
    }

    void run_generated(std::span<Item const> items, Progress& progress, std::vector<Draft>& drafts) {
        if (sum_over(grid_.data(), static_cast<std::int64_t>(items.size())) == 0) return;
        Engine engine(arena_, model_, options_.generate, options_.data.context, special_, options_.run.seed);
        WorkQueue queue(grid_.data(), static_cast<std::int64_t>(items.size()), options_.generate.streams);
        Engine::Hooks hooks;
        hooks.next = [&]() -> std::optional<DraftRequest> {
            auto const index = queue.next();
            if (!index) return std::nullopt;
            return request(items[static_cast<std::size_t>(*index)]);
        };
        hooks.exhausted = [&] { return queue.exhausted(); };
        hooks.done = [&](Draft&& draft) { drafts.push_back(std::move(draft)); };
        hooks.progress = [&] {
            queue.progress();
            progress.update(static_cast<double>(drafts.size() * static_cast<std::size_t>(grid_.data().size())));
            return true;
        };
        engine.run(round_, hooks);
        queue.finish();
    }

  private:
    bool is_bash(Example const& example) const {
        return weave::method_of_example(options_.weave, method_, options_.run.seed, round_, example.index) == weave::WeaveMethod::bash;
    }

    std::vector<std::uint8_t> coins(Item const& item) const {
        return weave::bash_coins(options_.weave.bash, options_.run.seed, round_, progress_of_run_, item.example->index, item.sample,
                                 static_cast<std::int64_t>(item.example->answer.size()));
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
                request.max_new_tokens = std::min(request.max_new_tokens, static_cast<std::int64_t>(item.example->answer.size()));
            }
        }
        return request;
    }

    // Pass i samples every answer position from p(. | x, z^(i-1)); z^0 is gold.
    std::vector<Draft> forced_drafts(ForcedPass& pass, std::span<Item const> items) const {
        SamplerOptions const sampler = bash_sampler(options_.weave.bash);
        std::vector<ForcedSequence> sequences;
        for (Item const& item : items) {
            ForcedSequence sequence{item.example->index, item.sample, 0, item.example->prompt,
                                    static_cast<std::int64_t>(item.example->prompt.size()) - 1, {}};
            sequence.inputs.insert(sequence.inputs.end(), item.example->answer.begin(), item.example->answer.end() - 1);
            sequences.push_back(std::move(sequence));
        }
        std::vector<ForcedResult> results;
        for (std::int64_t i = 1; i <= options_.weave.bash.passes; ++i) {
            if (i > 1) {
                for (std::size_t s = 0; s < items.size(); ++s) {
                    Example const& example = *items[s].example;
                    auto const mixed = weave::bash_mix(example.answer, results[s].sampled, coins(items[s]), special_, nullptr);
                    std::copy(mixed.begin(), mixed.end(), sequences[s].inputs.begin() + static_cast<std::ptrdiff_t>(example.prompt.size()));
                }
            }
            results = pass.run(sequences, &sampler, round_, Purpose::sample);
        }
        std::vector<Draft> drafts;
        for (std::size_t s = 0; s < items.size(); ++s) {
            bool const ended = results[s].sampled.back() == special_.end_of_answer;
            drafts.push_back({items[s].example->index, items[s].sample, 0, ended ? FinishReason::end_of_answer : FinishReason::length,
                              std::move(results[s].sampled), std::move(results[s].sampled_own_logprob),
                              std::move(results[s].sampled_logprob)});
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
};

std::vector<Draft> gather_drafts(Communicator& data, std::vector<Draft> const& mine) {
    ByteWriter writer;
    for (Draft const& draft : mine) {
        writer.put(draft.example);
        writer.put(draft.sample);
        writer.put(draft.turn);
        writer.put(draft.finish);
        writer.put(draft.tokens);
        writer.put(draft.logprob);
        writer.put(draft.sampled_logprob);
    }
    std::vector<Draft> all;
    for (auto const& part : gather_bytes(data, writer.bytes(), 0)) {
        ByteReader reader(part);
        while (!reader.at_end()) {
            Draft& draft = all.emplace_back();
            reader.get(draft.example);
            reader.get(draft.sample);
            reader.get(draft.turn);
            reader.get(draft.finish);
            reader.get(draft.tokens);
            reader.get(draft.logprob);
            reader.get(draft.sampled_logprob);
        }
    }
    std::sort(all.begin(), all.end(), [](Draft const& a, Draft const& b) {
        return std::tie(a.example, a.sample, a.turn) < std::tie(b.example, b.sample, b.turn);
    });
    return all;
}

}  // namespace

GenerationResult generation_sweep(Arena& arena, ProcessGrid const& grid, Model& model, std::span<Example const> examples,
                                  JobOptions const& options, weave::WeaveMethod method, std::int64_t round, std::int64_t schedule_rounds,
                                  SpecialTokens const& special) {
    Communicator& data = grid.data();
    Sweep sweep(arena, grid, model, options, method, round, schedule_rounds, special);
    Items const items = sweep.sort_out(examples);
    std::vector<Draft> mine;
    Timer timer;
    std::int64_t busy_ms = 0;
    agree(data, [&] {
        model.pack(arena);
        Range const share = EvenSplit(static_cast<std::int64_t>(items.forced.size()), data.size()).part(data.rank());
        {
            Progress progress(fmt::format("round {} forced pass", round), share.size(), "drafts", grid.is_root());
            sweep.run_forced(std::span(items.forced).subspan(static_cast<std::size_t>(share.begin), static_cast<std::size_t>(share.size())),
                             progress, mine);
        }
        Progress progress(fmt::format("round {} generation", round), static_cast<std::int64_t>(items.generated.size()), "drafts", grid.is_root());
        sweep.run_generated(items.generated, progress, mine);
        busy_ms = static_cast<std::int64_t>(timer.seconds() * 1000);
        model.unpack();
    });
    std::int64_t tokens = 0;
    for (Draft const& draft : mine) tokens += static_cast<std::int64_t>(draft.tokens.size());
    GenerationResult result;
    result.tokens = sum_over(data, tokens);
    std::int64_t const slowest = max_over(data, busy_ms);
    result.busy = slowest == 0 ? 1 : static_cast<double>(sum_over(data, busy_ms)) / static_cast<double>(slowest * data.size());
    result.drafts = gather_drafts(data, mine);
    return result;
}

}  // namespace selvage

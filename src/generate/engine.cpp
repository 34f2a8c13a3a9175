// SPDX-License-Identifier: Apache-2.0
#include "generate/engine.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/timer.h"
#include "generate/readout.h"
#include "generate/scheduler.h"

namespace selvage {
namespace {

// The most prompt rows of one step, beside the decoding rows: enough for products at full speed, few enough that a long
// prompt does not hold up the others.
constexpr std::int64_t prefill_rows = 512;
constexpr auto nap = std::chrono::microseconds(100);

std::int64_t cache_pages(Model const& model, GenerateOptions const& options, std::int64_t context) {
    std::int64_t const bytes = options.cache_mib << 20;
    std::int64_t const pages =
        bytes / static_cast<std::int64_t>(KvCache::bytes_per_page(model.local(), model.compute()));
    // No more than all streams can ever use.
    return std::min(pages, options.streams * PagePool::pages_for(context));
}

std::int64_t checked_pages(Model const& model, GenerateOptions const& options, std::int64_t context) {
    if (options.streams < 1)
        fail(ExitCode::bad_data, "generate.streams = {} is below 1; give the number of answers to decode at once",
             options.streams);
    std::int64_t const pages = cache_pages(model, options, context);
    if (pages < 1)
        fail(ExitCode::bad_data,
             "generate.cache_mib = {} holds no page of keys and values (one takes {}); raise generate.cache_mib",
             options.cache_mib,
             format_bytes(static_cast<double>(KvCache::bytes_per_page(model.local(), model.compute()))));
    return pages;
}

}  // namespace

struct Engine::State {
    State(Arena& arena, Model& model, GenerateOptions const& options, std::int64_t context, SpecialTokens special,
          std::uint64_t seed, Replay replay)
        : model(model),
          context(context),
          special(special),
          seed(seed),
          cache(arena, model, checked_pages(model, options, context)),
          workspace(arena, model, options.streams + prefill_rows, Keep::nothing),
          forward(model, cache, workspace, replay),
          readout(arena, model, std::min(options.streams, Model::logit_rows)),
          scheduler(cache.pages(), options.streams, prefill_rows) {}

    using Done = std::function<void(std::int64_t order, Draft&&)>;
    void run(std::int64_t round, Hooks const& hooks, Done const& done);
    void admit(Hooks const& hooks, Done const& done);
    void check_fits(Sequence const& sequence) const;
    void step(std::int64_t round, Hooks const& hooks, Done const& done);
    void draw(TensorView hidden, std::size_t first, std::size_t count, std::int64_t round, Hooks const& hooks);

    Model& model;
    std::int64_t context;
    SpecialTokens special;
    std::uint64_t seed;
    KvCache cache;
    Workspace workspace;
    ReplayedForward forward;
    Readout readout;
    Scheduler scheduler;
    Counters counters;
    std::int64_t requests = 0;
    std::vector<Draw> draws;
    std::vector<SampledToken> sampled;
    std::vector<Token> tokens;
    std::vector<float> logprob;
};

Engine::Engine(Arena& arena, Model& model, GenerateOptions const& options, std::int64_t context, SpecialTokens special,
               std::uint64_t seed, Replay replay)
    : state_(std::make_unique<State>(arena, model, options, context, special, seed, replay)) {}
Engine::~Engine() = default;

void Engine::State::check_fits(Sequence const& sequence) const {
    std::int64_t const need = PagePool::pages_for(sequence.most_positions());
    if (need <= cache.pages()) return;
    auto const page = static_cast<double>(KvCache::bytes_per_page(model.local(), model.compute()));
    fail(ExitCode::bad_data,
         "an answer may need {} positions, {} of keys and values, and the cache holds {}; raise generate.cache_mib, or "
         "lower generate.max_new_tokens or data.context",
         sequence.most_positions(), format_bytes(page * static_cast<double>(need)),
         format_bytes(page * static_cast<double>(cache.pages())));
}

void Engine::State::admit(Hooks const& hooks, Done const& done) {
    while (scheduler.wants_more()) {
        std::optional<DraftRequest> request = hooks.next();
        if (!request) return;
        Sequence sequence(std::move(*request), requests++, context);
        if (sequence.finished()) {
            done(sequence.order(), std::move(sequence.draft()));
            continue;
        }
        check_fits(sequence);
        scheduler.add(std::move(sequence));
    }
}

void Engine::State::run(std::int64_t round, Hooks const& hooks, Done const& done) {
    scheduler.clear();  // what an interrupted run has left
    requests = 0;
    for (;;) {
        if (hooks.progress && !hooks.progress()) return;
        admit(hooks, done);
        if (!scheduler.idle()) {
            step(round, hooks, done);
        } else if (hooks.exhausted()) {
            return;
        } else {
            std::this_thread::sleep_for(nap);  // the next requests are on their way
        }
    }
}

void Engine::State::step(std::int64_t round, Hooks const& hooks, Done const& done) {
    Timer const timer;
    scheduler.plan();
    TensorView const hidden = forward.forward(scheduler.batch());
    std::size_t const drawing = scheduler.drawing().size();
    for (std::size_t first = 0; first < drawing;) {
        std::size_t const count = std::min(drawing - first, static_cast<std::size_t>(readout.most_rows()));
        draw(hidden, first, count, round, hooks);
        first += count;
    }
    counters.steps += 1;
    counters.replayed_steps = forward.replays();
    counters.prefill_tokens += scheduler.prefill_rows();
    counters.generated_tokens += static_cast<std::int64_t>(drawing);
    counters.preemptions = scheduler.preemptions();
    counters.shared_tokens = scheduler.shared_positions();
    counters.busy_seconds += timer.seconds();
    scheduler.take_finished([&](Sequence&& finished) { done(finished.order(), std::move(finished.draft())); });
}

void Engine::State::draw(TensorView hidden, std::size_t first, std::size_t count, std::int64_t round,
                         Hooks const& hooks) {
    std::span<Sequence* const> const sequences = scheduler.drawing().subspan(first, count);
    draws.clear();
    for (Sequence const* const sequence : sequences) draws.push_back(sequence->next_draw(seed, round));
    sampled.resize(count);
    tokens.resize(count);
    logprob.resize(count);
    readout.read(hidden, scheduler.drawing_rows().subspan(first, count));
    readout.sample(sampled, draws);
    std::transform(sampled.begin(), sampled.end(), tokens.begin(), [](SampledToken const& s) { return s.token; });
    readout.log_probability(logprob, tokens);
    for (std::size_t i = 0; i < count; ++i) {
        sequences[i]->append(sampled[i], logprob[i], special);
        if (hooks.token) hooks.token(tokens[i]);
    }
}

void Engine::run(std::int64_t round, Hooks const& hooks) {
    state_->run(round, hooks, [&](std::int64_t, Draft&& draft) { hooks.done(std::move(draft)); });
}

std::vector<Draft> Engine::run_all(std::int64_t round, std::vector<DraftRequest> requests) {
    std::vector<Draft> drafts(requests.size());
    std::size_t given = 0;
    Hooks hooks;
    hooks.next = [&]() -> std::optional<DraftRequest> {
        if (given == requests.size()) return std::nullopt;
        return std::move(requests[given++]);
    };
    hooks.exhausted = [&] { return given == requests.size(); };
    // Requests are numbered in the order in which `next` gives them.
    state_->run(round, hooks,
                [&](std::int64_t order, Draft&& draft) { drafts[static_cast<std::size_t>(order)] = std::move(draft); });
    return drafts;
}

Engine::Counters Engine::counters() const { return state_->counters; }

}  // namespace selvage

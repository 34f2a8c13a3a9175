// SPDX-License-Identifier: Apache-2.0
#include "sweep/run_loop.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/digest.h"
#include "base/heartbeat.h"
#include "base/log.h"
#include "evaluate/evaluator.h"
#include "sweep/draft_attributes.h"
#include "sweep/draft_journal.h"
#include "sweep/forecast.h"
#include "sweep/generation_sweep.h"
#include "sweep/peak_memory.h"
#include "sweep/progress.h"
#include "sweep/round_plan.h"
#include "sweep/stop.h"
#include "sweep/summary.h"
#include "sweep/validation.h"
#include "tensor/host_copy.h"
#include "weave/weave.h"

namespace selvage {
namespace {

constexpr double flush_interval = 10;  // seconds between rewrites of run.h5 inside a sweep
constexpr double stop_margin = 60;     // seconds before run.walltime

class RunLoop {
  public:
    RunLoop(Arena& arena, ProcessGrid const& grid, io::IoThread& io, Job const& job, Corpora const& corpora)
        : arena_(arena),
          grid_(grid),
          io_(io),
          job_(job),
          options_(job.options),
          corpora_(corpora),
          folder_(job.options.run.out),
          marker_(corpora.tokenizer->encode(job.options.weave.rac.marker)),
          model_(arena, job.model, grid, static_cast<std::int64_t>(corpora.tokenizer->table().pieces.size()),
                 job.options.precision.compute, parameters_of(job.options.train.shard)),
          trainer_(arena, grid, model_, job.options.train),
          stop_(folder_, job.options.run.walltime.empty() ? 0 : parse_walltime(job.options.run.walltime), stop_margin,
                grid.is_root()),
          watchdog_(job.options.run.hang_minutes, grid.world().rank()),
          forecast_(job.options) {
        load();
        agree(grid_.world(), [&] {
            if (grid_.is_root())
                log_ = std::make_unique<io::RunLog>(io_, folder_ / "run.h5", job_.effective_deck, state_.table_rows);
        });
    }

    RunEnd run() {
        event("start", fmt::format("{} at step {}, {}", job_.start_from ? "resumed" : "started", state_.step,
                                   grid_.description()));
        if (!job_.batch_variance.empty()) event("precision", job_.batch_variance);
        warn_of_long_warmup();
        while (state_.phase != io::Phase::finished) {
            timed_phase();
            if (state_.phase != io::Phase::finished && stop_.agreed(grid_.world())) {
                event("stop", "stopped early, everything saved");
                checkpoint();
                return RunEnd::stopped_early;
            }
        }
        event("end", fmt::format("finished {} rounds", options_.run.rounds));
        checkpoint();
        if (log_) std::printf("%s", summary_table(*log_, options_.weave).c_str());
        return RunEnd::finished;
    }

  private:
    void load() {
        if (job_.start_from) {
            io::CheckpointInfo const info = io::read_checkpoint_info(io_, *job_.start_from);
            check_same_data(corpora_.train, info.data_digest, *job_.start_from);
            state_ = info.state;
            auto& optimizer = trainer_.optimizer();
            io::OptimizerShard const shard = optimizer_shard(optimizer);
            io::read_checkpoint(io_, *job_.start_from, model_.parameters(), &shard);
            if (state_.phase == io::Phase::finished && state_.round <= options_.run.rounds)
                state_.phase = io::Phase::generate;
        } else if (job_.initial_weights) {
            job_.initial_weights(model_.parameters());
        } else {
            model_.parameters().initialise(options_.run.seed, options_.train.threads_per_rank);
        }
    }

    static io::OptimizerShard optimizer_shard(ShardedAdamW& optimizer) {
        return {optimizer.shard(), optimizer.first_moment(), optimizer.second_moment()};
    }

    void warn_of_long_warmup() {
        std::int64_t const steps = total_steps(options_, options_.run.schedule_rounds);
        std::int64_t const warmup = options_.train.optimizer.warmup_steps;
        if (warmup <= steps || !grid_.is_root()) return;
        std::string const text = fmt::format(
            "train.warmup_steps is {}, but the run has {} steps; it warms up over all of them", warmup, steps);
        log::warning("{}", text);
        event("warning", text);
    }

    // One phase, whose time goes into the forecast where it was run whole.
    void timed_phase() {
        io::Phase const phase = state_.phase;
        std::int64_t const round = state_.round;
        bool const is_whole = phase != io::Phase::train || state_.step_in_round == 0;
        bool const is_empty = phase == io::Phase::evaluate && !forecast_.evaluates_after(round);
        Timer const timer;
        placed_phase();
        if (state_.phase == phase && state_.round == round) return;  // asked to stop
        if (is_whole && !is_empty) forecast_.took(phase, round, timer.seconds());
        auto const left = forecast_.after(phase, round);
        if (phase == io::Phase::evaluate && left && *left > 0)
            log::info("round {} of {} is done; the run ends about {} ({} to go)", round, options_.run.rounds,
                      local_time_in(*left), format_duration(*left));
    }

    // What a model cannot do (a log-probability that is not finite, say) gets the place in the run.
    void placed_phase() {
        io::Phase const phase = state_.phase;
        try {
            one_phase();
        } catch (Error const& error) {
            if (error.code() != ExitCode::bad_data || phase == io::Phase::train) throw;
            fail(ExitCode::bad_data, "round {}, after step {}: {}", state_.round, state_.step, error.what());
        }
    }

    std::optional<double> seconds_after_this() const { return forecast_.after(state_.phase, state_.round); }

    void one_phase() {
        switch (state_.phase) {
            case io::Phase::evaluate_start:
                if (!evaluate_now(0)) return;
                state_.phase = io::Phase::generate;
                break;
            case io::Phase::generate:
                state_.step_in_round = 0;
                if (!generate_and_weave()) return;
                state_.phase = io::Phase::train;
                break;
            case io::Phase::train:
                if (!train_sweep()) return;
                state_.phase = io::Phase::evaluate;
                checkpoint();
                break;
            case io::Phase::evaluate:
                if (forecast_.evaluates_after(state_.round) && !evaluate_now(state_.round)) return;
                ++state_.round;
                state_.phase = state_.round > options_.run.rounds ? io::Phase::finished : io::Phase::generate;
                break;
            case io::Phase::finished:
                break;
        }
    }

    weave::WeaveMethod method() const { return options_.weave.method_of(state_.round); }

    // False: asked to stop before the sweep's end; its journal has the drafts that were finished.
    bool generate_and_weave() {
        auto const method = this->method();
        RoundExamples const round =
            round_examples(corpora_.train, options_, method, state_.cursor, static_cast<std::int64_t>(marker_.size()));
        Timer timer;
        GenerationResult generated;
        std::string policy;
        if (method != weave::WeaveMethod::none) {
            policy = policy_digest(model_.parameters(), grid_);
            DraftJournal journal(grid_, folder_ / "journal", state_.round, journal_header(policy));
            if (journal.found() > 0) {
                std::string const text = fmt::format("round {}: {} drafts were there", state_.round, journal.found());
                log::info("{}", text);
                event("journal", text);
            }
            generated = generation_sweep(arena_, grid_, model_, round.examples, options_, method, state_.round,
                                         options_.run.schedule_rounds, corpora_.tokenizer->special(), journal,
                                         seconds_after_this(), [&] { return stop_.reason().empty(); });
            if (generated.stopped) return false;
            add({.kind = "generate",
                 .round = state_.round,
                 .tokens = generated.tokens,
                 .examples = static_cast<std::int64_t>(round.examples.size()),
                 .seconds = timer.seconds(),
                 .busy = generated.busy.mean(),
                 .busy_by_rank = generated.busy.by_rank});
            log::info("round {}: {} generated {} tokens for {} examples in {} ({:.0f} tokens/s)", state_.round,
                      name_of(method), generated.tokens, round.examples.size(), format_duration(timer.seconds()),
                      static_cast<double>(generated.tokens) / timer.seconds());
            if (grid_.data().size() > 1) log::info("round {}: ranks were busy {}", state_.round, generated.busy.text());
        }
        Timer weaving;
        std::int64_t rows = 0;
        std::int64_t tokens = 0;
        agree(grid_.world(), [&] {
            if (!grid_.is_root()) return;
            if (method != weave::WeaveMethod::none) write_drafts(method, generated, policy);
            weave_to_file(method, round.examples, generated.drafts, rows, tokens);
        });
        add({.kind = "weave",
             .round = state_.round,
             .tokens = tokens,
             .examples = rows,
             .seconds = weaving.seconds(),
             .busy = 1});
        state_.cursor = round.next_cursor;
        return true;
    }

    // What the drafts of a sweep depend on.
    std::string journal_header(std::string const& policy) const {
        return fmt::format(
            "format: selvage-journal\nformat_version: 1\nround: {}\npolicy_digest: {}\ndata_digest: {}\n"
            "deck_digest: {}\n",
            state_.round, policy, corpora_.train.digest(), digest_of(job_.lasting_deck).hex());
    }

    void write_drafts(weave::WeaveMethod method, GenerationResult& generated, std::string const& policy) {
        io::DraftsFile file;
        file.drafts = generated.drafts;
        file.deck = job_.effective_deck;
        auto const& bash = options_.weave.bash;
        bool const by_bash = method == weave::WeaveMethod::bash || method == weave::WeaveMethod::both;
        char const* const bash_kinds[] = {"forced", "mixed", "free"};
        SamplerOptions const sampler =
            by_bash ? SamplerOptions{bash.temperature, bash.top_p, bash.top_k} : options_.generate.sampler;
        describe_drafts(file.attributes, by_bash ? bash_kinds[static_cast<int>(bash.draft)] : "free", state_.step,
                        policy, sampler, options_.run.seed);
        file.attributes.text["method"] = name_of(method);
        file.attributes.integers["round"] = state_.round;
        io::write_drafts(io_, io::round_path(folder_ / "drafts", state_.round), file);
    }

    void weave_to_file(weave::WeaveMethod method, std::vector<Example> const& examples,
                       std::vector<Draft> const& drafts, std::int64_t& rows, std::int64_t& tokens) {
        weave::WeaveInput input;
        input.examples = examples;
        input.drafts = drafts;
        input.round = state_.round;
        input.schedule_rounds = options_.run.schedule_rounds;
        input.seed = static_cast<std::uint64_t>(options_.run.seed);
        input.context = options_.data.context;
        input.samples = options_.generate.samples;
        auto woven = weave::weave_round(options_.weave, method, input, *corpora_.tokenizer);
        io::WovenFile file;
        file.rows = std::move(woven.rows);
        file.uses = uses_of(plans(file.rows), lengths(file.rows));
        file.deck = job_.effective_deck;
        file.attributes.integers = std::move(woven.audit);
        file.attributes.integers["round"] = state_.round;
        file.attributes.text["method"] = name_of(method);
        for (Woven const& row : file.rows) tokens += static_cast<std::int64_t>(row.input_tokens.size());
        rows = static_cast<std::int64_t>(file.rows.size());
        io::write_woven(io_, woven_path(), file);
    }

    io::Path woven_path() const { return io::round_path(folder_ / "woven", state_.round); }

    static std::vector<std::int64_t> lengths(std::vector<Woven> const& rows) {
        std::vector<std::int64_t> out;
        for (Woven const& row : rows) out.push_back(static_cast<std::int64_t>(row.input_tokens.size()));
        return out;
    }

    std::vector<StepPlan> plans(std::vector<Woven> const& rows) const {
        if (rows.empty()) return {};
        PackingOptions const packing{options_.train.batch_tokens, options_.train.micro_batch_tokens,
                                     options_.train.lanes};
        return plan_steps(lengths(rows), packing, static_cast<std::uint64_t>(options_.run.seed), state_.round,
                          state_.step - state_.step_in_round + 1, options_.train.steps_per_round);
    }

    // False: asked to stop before the sweep's end.
    bool train_sweep() {
        io::WovenFile file;
        agree(grid_.world(), [&] { file = io::read_woven(io_, woven_path()); });
        if (file.rows.empty()) {
            if (grid_.is_root())
                log::warning("round {}: nothing to train on (every draft was rejected, see the audit in {}); going on",
                             state_.round, woven_path().string());
            event("warning", fmt::format("round {}: nothing to train on", state_.round));
            return true;
        }
        auto const steps = plans(file.rows);
        std::int64_t const all_steps = total_steps(options_, options_.run.schedule_rounds);
        Timer timer, since_flush, since_checkpoint;
        std::int64_t tokens = 0;
        communication_seconds_ = 0;
        {
            Progress progress(fmt::format("round {} training", state_.round), static_cast<std::int64_t>(steps.size()),
                              "steps", grid_.is_root(), seconds_after_this());
            while (state_.step_in_round < static_cast<std::int64_t>(steps.size())) {
                StepPlan const& plan = steps[static_cast<std::size_t>(state_.step_in_round)];
                tokens += one_step(file.rows, plan, all_steps, progress);
                if (state_.step_in_round == static_cast<std::int64_t>(steps.size())) break;
                if (grid_.is_root() && since_flush.seconds() > flush_interval) {
                    log_->flush();
                    since_flush.restart();
                }
                if (checkpoint_due(since_checkpoint)) {
                    checkpoint();
                    since_checkpoint.restart();
                }
                if (stop_.agreed(grid_.world())) return false;
            }
        }
        double const seconds = timer.seconds();
        add_train_row(file, tokens, seconds, busy_ranks(grid_.world(), communication_seconds_, seconds).mean());
        record_memory();
        return true;
    }

    std::int64_t one_step(std::vector<Woven> const& rows, StepPlan const& plan, std::int64_t all_steps,
                          Progress& progress) {
        Timer timer;
        auto const result = trainer_.step(rows, plan, all_steps);
        if (!result.finite)
            fail(ExitCode::bad_data,
                 "loss or gradient is not finite at step {} (round {}, loss {}); the last good checkpoint stays: lower "
                 "train.learning_rate, "
                 "or look at the data of this step in {}",
                 plan.step, state_.round, result.loss, woven_path().string());
        ++state_.step;
        ++state_.step_in_round;
        communication_seconds_ += result.communication_seconds;
        if (log_)
            log_->add(io::StepRow{plan.step, state_.round, result.loss, result.grad_norm, result.learning_rate,
                                  result.target_tokens, timer.seconds()});
        progress.update(static_cast<double>(state_.step_in_round), fmt::format("loss {:.4f}", result.loss));
        return result.input_tokens;
    }

    // By steps, or by rank 0's clock. Collective.
    bool checkpoint_due(Timer const& since) {
        auto const& c = options_.checkpoint;
        if (c.every_steps > 0 && state_.step % c.every_steps == 0) return true;
        if (c.every_minutes <= 0) return false;
        return max_over(grid_.world(), grid_.is_root() && since.seconds() > c.every_minutes * 60 ? 1 : 0) != 0;
    }

    // What the round used of its woven file, as a whole: the same row after an interruption.
    void add_train_row(io::WovenFile const& file, std::int64_t tokens, double seconds, double communication) {
        std::vector<std::int64_t> uses(file.rows.size());
        std::int64_t used_tokens = 0;
        for (io::Use const& use : file.uses) {
            ++uses[static_cast<std::size_t>(use.index)];
            used_tokens +=
                static_cast<std::int64_t>(file.rows[static_cast<std::size_t>(use.index)].input_tokens.size());
        }
        std::int64_t left = 0;
        std::int64_t repeated = 0;
        for (std::int64_t const n : uses) {
            left += n == 0;
            repeated += std::max<std::int64_t>(0, n - 1);
        }
        add({.kind = "train",
             .round = state_.round,
             .tokens = used_tokens,
             .examples = static_cast<std::int64_t>(file.uses.size()),
             .repeated = repeated,
             .left_over = left,
             .seconds = seconds,
             .busy = 1,
             .communication = communication});
        log::info("round {}: trained {} steps, {} tokens in {} ({:.0f} tokens/s), {} rows repeated, {} left over{}",
                  state_.round, options_.train.steps_per_round, tokens, format_duration(seconds),
                  static_cast<double>(tokens) / seconds, repeated, left,
                  grid_.world().size() > 1 ? fmt::format(", {:.1f}% in communication", 100 * communication) : "");
    }

    // Collective: the peaks of the arenas' names, on the rank where each was most.
    void record_memory() {
        std::vector<io::MemoryRow> rows = peak_memory(grid_.world(), arena_);
        if (log_) log_->set_memory(std::move(rows));
    }

    EvaluationResult evaluate_heldout(std::int64_t round) {
        Progress progress(fmt::format("round {} evaluation", round), 100, "%", grid_.is_root(), seconds_after_this());
        model_.pack(arena_);
        EvaluationResult result = evaluate(
            arena_, grid_, model_, corpora_.heldout, *corpora_.tokenizer, marker_, options_.evaluate, options_.generate,
            options_.data.context, static_cast<std::uint64_t>(options_.run.seed), state_.step, round, [&](double done) {
                progress.update(100 * done);
                return stop_.reason().empty();
            });
        if (!result.stopped && corpora_.validation)
            result.row.metrics["validation_nll"] =
                validation_nll(arena_, grid_, model_, *corpora_.validation, options_);
        model_.unpack();
        return result;
    }

    // False: asked to stop before its end.
    bool evaluate_now(std::int64_t round) {
        Timer timer;
        EvaluationResult const result = evaluate_heldout(round);
        if (result.stopped) return false;
        double const seconds = timer.seconds();
        BusyRanks const busy = busy_ranks(grid_.world(), result.busy_seconds, seconds);
        add({.kind = "evaluate",
             .round = round,
             .tokens = result.tokens,
             .examples = result.examples,
             .seconds = seconds,
             .busy = busy.mean(),
             .busy_by_rank = busy.by_rank});
        agree(grid_.world(), [&] {
            if (!log_) return;
            log_->add(result.row);
            log_->flush();
        });
        log::info("round {}: evaluated in {}: {}", round, format_duration(seconds), evaluation_text(result.row));
        if (result.skipped > 0)
            log::info("round {}: {} held-out examples do not fit the context and were left out", round, result.skipped);
        return true;
    }

    // A checkpoint of numbers that are not finite would push out a good one.
    void check_finite() {
        bool finite = true;
        arena_.device().synchronize();
        FloatReader(model_.parameters().values(), arena_.device()).for_each_piece([&](std::span<float const> values) {
            finite = finite && std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
        });
        if (!finite)
            fail(
                ExitCode::bad_data,
                "the weights are not finite after step {} (round {}); the last good checkpoint stays: start again from "
                "it or from nothing (model.from, --resume never) with a lower train.learning_rate",
                state_.step, state_.round);
    }

    void checkpoint() {
        Timer timer;
        agree(grid_.world(), [&] { check_finite(); });
        // run.h5 is on disk with these rows before the checkpoint that counts them.
        agree(grid_.world(), [&] {
            if (log_) log_->flush();
        });
        if (log_) state_.table_rows = log_->table_rows();
        io::CheckpointInfo info{job_.effective_deck,         to_toml(model_.config()),
                                corpora_.tokenizer->table(), state_,
                                corpora_.train.digest(),     job_.folder};
        auto const path = io::checkpoint_path(folder_ / "checkpoints", state_.step);
        std::int64_t const bytes = io::write_checkpoint(
            io_, path, info, model_.parameters(), optimizer_shard(trainer_.optimizer()), options_.checkpoint.writers);
        event("checkpoint", fmt::format("step {}: {} in {:.2f} s", state_.step,
                                        format_bytes(static_cast<double>(bytes)), timer.seconds()));
        if (log_) {
            io::remove_old_checkpoints(folder_ / "checkpoints", options_.checkpoint.keep);
            if (state_.phase != io::Phase::generate) remove_journals(folder_ / "journal");
            log_->flush();
        }
        heartbeat();
    }

    void add(io::SweepRow const& row) {
        if (log_) log_->add(row);
    }
    void event(std::string const& kind, std::string const& text) {
        if (log_) log_->event(kind, text);
    }

    Arena& arena_;
    ProcessGrid const& grid_;
    io::IoThread& io_;
    Job const& job_;
    JobOptions const& options_;
    Corpora const& corpora_;
    io::Path folder_;
    std::vector<Token> marker_;
    Model model_;
    Trainer trainer_;
    StopRequest stop_;
    Watchdog watchdog_;
    Forecast forecast_;
    io::RunState state_;
    std::unique_ptr<io::RunLog> log_;
    double communication_seconds_ = 0;  // of this training sweep
};

}  // namespace

RunEnd run_job(Arena& arena, ProcessGrid const& grid, io::IoThread& io, Job const& job, Corpora const& corpora) {
    return RunLoop(arena, grid, io, job, corpora).run();
}

}  // namespace selvage

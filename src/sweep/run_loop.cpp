// SPDX-License-Identifier: Apache-2.0
#include "sweep/run_loop.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/digest.h"
#include "base/log.h"
#include "evaluate/evaluator.h"
#include "sweep/checkpoints.h"
#include "sweep/draft_attributes.h"
#include "sweep/draft_journal.h"
#include "sweep/forecast.h"
#include "sweep/generation_sweep.h"
#include "sweep/peak_memory.h"
#include "sweep/progress.h"
#include "sweep/round_files.h"
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
          forecast_(job.options),
          outliers_(job.options.outliers) {
        load();
        agree(grid_.world(), [&] {
            if (grid_.is_root())
                log_ = std::make_unique<io::RunLog>(io_, folder_ / "run.h5", job_.effective_deck, state_.table_rows);
        });
        recall_steps();
        checkpoints_.emplace(grid_, io_, folder_, options_.checkpoint, model_.parameters(), trainer_.optimizer(),
                             log_.get());
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
                last_checkpoint();
                return RunEnd::stopped_early;
            }
        }
        event("end", fmt::format("finished {} rounds", options_.run.rounds));
        last_checkpoint();
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
            DraftJournal journal(grid_, folder_ / "journal", generation_journal(state_.round),
                                 journal_header(state_.round, policy, corpora_.train));
            tell_found(fmt::format("round {}", state_.round), journal);
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
        WovenCounts woven;
        agree(grid_.world(), [&] {
            if (!grid_.is_root()) return;
            if (method != weave::WeaveMethod::none) write_drafts(io_, job_, state_, method, generated.drafts, policy);
            woven = write_round(io_, job_, state_, method, round.examples, generated.drafts, *corpora_.tokenizer);
        });
        add({.kind = "weave",
             .round = state_.round,
             .tokens = woven.tokens,
             .examples = woven.rows,
             .seconds = weaving.seconds(),
             .busy = 1});
        state_.cursor = round.next_cursor;
        return true;
    }

    // What the drafts of a sweep depend on.
    std::string journal_header(std::int64_t round, std::string const& policy, Corpus const& data) const {
        return fmt::format(
            "format: selvage-journal\nformat_version: 1\nround: {}\npolicy_digest: {}\ndata_digest: {}\n"
            "deck_digest: {}\n",
            round, policy, data.digest(), digest_of(job_.lasting_deck).hex());
    }

    void tell_found(std::string const& sweep, DraftJournal const& journal) {
        if (journal.found() == 0) return;
        std::string const text = fmt::format("{}: {} drafts were there", sweep, journal.found());
        log::info("{}", text);
        event("journal", text);
    }

    // False: asked to stop before the sweep's end.
    bool train_sweep() {
        io::WovenFile file;
        agree(grid_.world(), [&] { file = io::read_woven(io_, woven_path(job_, state_.round)); });
        if (file.rows.empty()) {
            if (grid_.is_root())
                log::warning("round {}: nothing to train on (every draft was rejected, see the audit in {}); going on",
                             state_.round, woven_path(job_, state_.round).string());
            event("warning", fmt::format("round {}: nothing to train on", state_.round));
            return true;
        }
        auto const steps = plan_round(job_, state_, file.rows);
        std::int64_t const all_steps = total_steps(options_, options_.run.schedule_rounds);
        Timer timer, since_flush;
        double const seconds_before = seconds_of_steps(state_.round);
        communication_seconds_ = 0;
        {
            Progress progress(fmt::format("round {} training", state_.round), static_cast<std::int64_t>(steps.size()),
                              "steps", grid_.is_root(), seconds_after_this());
            while (state_.step_in_round < static_cast<std::int64_t>(steps.size())) {
                StepPlan const& plan = steps[static_cast<std::size_t>(state_.step_in_round)];
                one_step(file.rows, plan, all_steps, progress);
                if (state_.step_in_round == static_cast<std::int64_t>(steps.size())) break;
                if (grid_.is_root() && since_flush.seconds() > flush_interval) {
                    checkpoints_->look();
                    log_->start_flush(false);
                    since_flush.restart();
                }
                if (checkpoints_->due(state_.step)) checkpoint();
                if (stop_.agreed(grid_.world())) return false;
            }
        }
        double const seconds = timer.seconds();
        add_train_row(file, seconds_before + seconds,
                      busy_ranks(grid_.world(), communication_seconds_, seconds).mean());
        record_memory();
        return true;
    }

    void one_step(std::vector<Woven> const& rows, StepPlan const& plan, std::int64_t all_steps, Progress& progress) {
        Timer timer;
        auto const result = trainer_.step(rows, plan, all_steps, outliers_.limits());
        outliers_.add(result.loss, result.grad_norm, !result.updated);
        if (!result.updated) meet_outlier(plan.step, result);
        ++state_.step;
        ++state_.step_in_round;
        communication_seconds_ += result.communication_seconds;
        if (log_)
            log_->add(io::StepRow{plan.step, state_.round, result.loss, result.grad_norm, result.learning_rate,
                                  result.target_tokens, timer.seconds(), !result.updated});
        progress.update(static_cast<double>(state_.step_in_round), fmt::format("loss {:.4f}", result.loss));
    }

    // The weights stayed as they were before the step.
    void meet_outlier(std::int64_t step, Trainer::Result const& result) {
        OutlierOptions const& options = options_.outliers;
        std::string const what = fmt::format("step {} (round {}): loss {}, gradient norm {}", step, state_.round,
                                             result.loss, result.grad_norm);
        bool const skips = options.on_outlier == OnOutlier::skip;
        if (!skips || outliers_.skipped_in_a_row() >= options.patience)
            fail(ExitCode::bad_data,
                 "loss or gradient is not finite or an outlier at {}{}; the last good checkpoint stays: lower "
                 "train.learning_rate, look at the data of this step in {}, or see train.on_outlier",
                 what, skips ? fmt::format(", the last of {} in a row", options.patience) : "",
                 woven_path(job_, state_.round).string());
        log::warning("skipped {}", what);
        event("skipped", what);
    }

    // Rank 0: of those that an interrupted sweep had done.
    double seconds_of_steps(std::int64_t round) const {
        double seconds = 0;
        if (log_)
            for (io::StepRow const& row : log_->steps()) seconds += row.round == round ? row.seconds : 0;
        return seconds;
    }

    // The guard knows the steps before this start too.
    void recall_steps() {
        std::vector<io::StepRow> rows;
        if (log_) {
            auto const& all = log_->steps();
            auto first = all.end();
            for (std::int64_t kept = 0; first != all.begin() && kept < options_.outliers.window;)
                kept += (--first)->skipped == 0;
            rows.assign(first, all.end());
        }
        rows.resize(static_cast<std::size_t>(max_over(grid_.world(), std::ssize(rows))));
        grid_.world().broadcast(std::as_writable_bytes(std::span(rows)), 0);
        for (io::StepRow const& row : rows) outliers_.add(row.loss, row.grad_norm, row.skipped != 0);
    }

    // What the round used of its woven file, as a whole: the same row after an interruption.
    void add_train_row(io::WovenFile const& file, double seconds, double communication) {
        std::vector<std::int64_t> uses(file.rows.size());
        std::int64_t tokens = 0;
        for (io::Use const& use : file.uses) {
            ++uses[static_cast<std::size_t>(use.index)];
            tokens += static_cast<std::int64_t>(file.rows[static_cast<std::size_t>(use.index)].input_tokens.size());
        }
        std::int64_t left = 0;
        std::int64_t repeated = 0;
        for (std::int64_t const n : uses) {
            left += n == 0;
            repeated += std::max<std::int64_t>(0, n - 1);
        }
        add({.kind = "train",
             .round = state_.round,
             .tokens = tokens,
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
        DraftJournal journal(grid_, folder_ / "journal", evaluation_journal(round),
                             journal_header(round, policy_digest(model_.parameters(), grid_), corpora_.heldout));
        tell_found(fmt::format("evaluation after round {}", round), journal);
        EvaluationCalls calls;
        calls.progress = [&](double done) {
            progress.update(100 * done);
            return stop_.reason().empty();
        };
        calls.known = [&](DraftRequest const& request) {
            return journal.find(request.example, request.sample, request.turn);
        };
        calls.made = [&](Draft const& draft) { journal.add(draft); };
        model_.pack(arena_);
        EvaluationResult result = evaluate(arena_, grid_, model_, corpora_.heldout, *corpora_.tokenizer, marker_,
                                           options_.evaluate, options_.generate, options_.data.context,
                                           static_cast<std::uint64_t>(options_.run.seed), state_.step, round, calls);
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
            log_->start_flush(true);
        });
        log::info("round {}: evaluated in {}: {}", round, format_duration(seconds), evaluation_text(result.row));
        if (result.skipped > 0)
            log::info("round {}: {} held-out examples do not fit the context and were left out", round, result.skipped);
        return true;
    }

    void checkpoint() {
        checkpoints_->start({job_.effective_deck, to_toml(model_.config()), corpora_.tokenizer->table(), state_,
                             corpora_.train.digest(), job_.folder});
    }

    void last_checkpoint() {
        checkpoint();
        checkpoints_->finish();
        agree(grid_.world(), [&] {
            if (log_) log_->flush();
        });
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
    std::optional<Checkpoints> checkpoints_;
    OutlierGuard outliers_;
    double communication_seconds_ = 0;  // of this training sweep
};

}  // namespace

RunEnd run_job(Arena& arena, ProcessGrid const& grid, io::IoThread& io, Job const& job, Corpora const& corpora) {
    return RunLoop(arena, grid, io, job, corpora).run();
}

}  // namespace selvage

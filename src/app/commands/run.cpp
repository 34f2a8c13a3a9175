// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <filesystem>

#include "app/commands/commands.h"
#include "app/estimate.h"
#include "app/resume.h"
#include "app/session.h"
#include "base/log.h"
#include "base/timer.h"
#include "deck/render.h"
#include "io/folder_lock.h"
#include "sweep/run_loop.h"
#include "sweep/summary.h"

namespace selvage {
namespace {

constexpr double lock_wait = 60;  // seconds for a job before this one to die

// What rank 0 finds in the output folder, told to all.
Start agree_on_start(Session& session, io::Path const& folder, std::string const& choice) {
    Start start;
    Communicator& world = session.grid().world();
    agree(world, [&] {
        if (session.is_root()) start = choose_start(session.io(), folder, choice);
    });
    std::string const path = broadcast_text(world, start.checkpoint ? start.checkpoint->string() : "", 0);
    if (path.empty()) return start;
    agree(world, [&] {
        if (session.is_root()) return;
        io::CheckpointInfo const info = io::read_checkpoint_info(session.io(), path);
        start = {io::Path(path), info.state, info.deck, {}};
    });
    return start;
}

// What an effective deck in a file says.
RunDeck options_of(std::string const& effective_deck, io::Path const& file) {
    Deck deck = Deck::parse(effective_deck, file.string(), ".");
    RunDeck options;
    bind(deck, options);
    return options;
}

// The deck once more, with what the first start fixed (run.schedule_rounds) and what model.from says.
LoadedDeck final_deck(std::string const& path, std::vector<std::string> overrides, LoadedDeck const& first,
                      Start const& start, ModelSource const* source) {
    if (first.options.job.run.schedule_rounds == 0) {
        std::int64_t schedule_rounds = first.options.job.run.rounds;
        if (start.checkpoint) schedule_rounds = options_of(start.deck, *start.checkpoint).job.run.schedule_rounds;
        overrides.push_back(fmt::format("run.schedule_rounds={}", schedule_rounds));
    }
    return load_deck(path, overrides, source != nullptr ? &source->config() : nullptr);
}

std::string done_text(Session& session, Job const& job) {
    if (!session.is_root()) return "";
    auto const rows = io::read_checkpoint_info(session.io(), *job.start_from).state.table_rows;
    io::RunLog const log(session.io(), io::Path(job.options.run.out) / "run.h5", job.effective_deck, rows);
    return summary_table(log, job.options.weave);
}

int run(MpiSession& mpi, Arguments const& arguments) {
    std::string const deck_path = arguments.positional()[0];
    std::vector<std::string> overrides = arguments.all("set");
    if (arguments.flag("out")) overrides.push_back("run.out=" + toml_text::render(arguments.value("out", "")));
    LoadedDeck const first = load_deck(deck_path, overrides, nullptr);
    Session session(mpi, first.options);
    Communicator& world = session.grid().world();
    io::Path const folder = std::filesystem::absolute(first.options.job.run.out).lexically_normal();
    overrides.push_back("run.out=" + toml_text::render(folder.string()));

    std::unique_ptr<io::FolderLock> lock;
    agree(world, [&] {
        if (!session.is_root()) return;
        lock = std::make_unique<io::FolderLock>(folder, lock_wait);
        remove_unfinished(folder);
    });
    Start const start = agree_on_start(session, folder, arguments.value("resume", "auto"));

    Job job;
    agree(world, [&] {
        std::shared_ptr<ModelSource const> source;
        if (!first.options.model_from.empty())
            source = std::make_shared<ModelSource const>(session.io(), first.options.model_from);
        LoadedDeck loaded = final_deck(deck_path, overrides, first, start, source.get());
        job.options = loaded.options.job;
        job.effective_deck = loaded.deck.effective(false);
        job.lasting_deck = lasting_part(job.effective_deck);
        job.model = loaded.options.model;
        if (source) {
            job.initial_weights = [source, &world](ParameterSet& parameters) { source->read(world, parameters); };
            job.folder = source->info().folder;
        }
        job.batch_variance = session.batch_variance();
        job.start_from = start.checkpoint;
        if (!start.checkpoint) return;
        check_same_deck(start.deck, job.effective_deck, *start.checkpoint);
        if (session.is_root()) job.folder = io::read_checkpoint_info(session.io(), *start.checkpoint).folder;
        std::int64_t const old_rounds = options_of(start.deck, *start.checkpoint).job.run.rounds;
        if (job.options.run.rounds < old_rounds)
            fail(ExitCode::bad_data,
                 "run.rounds is {}, but {} belongs to a run of {} rounds (they may only grow); raise it",
                 job.options.run.rounds, start.checkpoint->string(), old_rounds);
    });
    bool const nothing_to_do =
        start.checkpoint && start.state.phase == io::Phase::finished && start.state.round > job.options.run.rounds;
    if (nothing_to_do) {
        log::info("the run in {} is finished ({} rounds); raise run.rounds to go on, or use another --out",
                  folder.string(), job.options.run.rounds);
        std::fputs(done_text(session, job).c_str(), stdout);
        return 0;
    }
    if (start.checkpoint)
        log::info("going on from {} (step {}, round {})", start.checkpoint->string(), start.state.step,
                  start.state.round);

    std::unique_ptr<Corpora> corpora;
    agree(world, [&] {
        corpora = std::make_unique<Corpora>(open_corpora(session.io(), job.options.data, job.model.vocabulary));
        job.model = resolve_vocabulary(job.model, corpora->tokenizer->size());
        validate(job.model);
    });
    tell_too_long("data.train", corpora->train, job.options.data);
    tell_too_long("data.heldout", corpora->heldout, job.options.data);
    if (corpora->validation) tell_too_long("data.validation", *corpora->validation, job.options.data);
    check_resources(job.options, job.model, corpora->train.tokens(), session.grid(), session.arena().device());
    log::info("selvage run: {}, {} training examples, output in {}", session.grid().description(),
              corpora->train.size(), folder.string());
    agree(world, [&] {
        if (session.is_root()) set_aside(start.to_set_aside, folder);
    });
    RunEnd const end = run_job(session.arena(), session.grid(), session.io(), job, *corpora);
    world.barrier();
    return static_cast<int>(end == RunEnd::finished ? ExitCode::done : ExitCode::stopped_early);
}

}  // namespace

Command run_command() {
    return {{"run",
             "DECK",
             1,
             1,
             "runs the whole job: rounds of generation, weaving, training and evaluation (parallel)",
             {set_option(),
              {"out", "DIR", "output folder, instead of run.out"},
              {"resume", "auto/never/FILE",
               "auto (default): go on from the newest valid checkpoint in the output folder; never: start again; FILE: "
               "start from that checkpoint"}}},
            run};
}

}  // namespace selvage

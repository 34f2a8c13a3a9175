// SPDX-License-Identifier: Apache-2.0
#include "evaluate/evaluator.h"

#include <algorithm>
#include <cstdio>

#include "app/commands/commands.h"
#include "app/session.h"
#include "base/log.h"
#include "base/timer.h"
#include "model/model.h"
#include "sweep/progress.h"

namespace selvage {
namespace {

void print_metrics(io::EvaluationRow const& row) {
    std::printf("%-28s %10s %10s %10s\n", "metric", "value", "low", "high");
    for (auto const& [name, metric] : row.metrics)
        std::printf("%-28s %10.5f %10.5f %10.5f\n", name.c_str(), metric.value, metric.low, metric.high);
}

// The round whose training these weights come from: its evaluation in run.h5 is repeated to the bit.
std::int64_t last_round(io::RunState const& state) {
    bool const in_round = state.phase == io::Phase::train || state.phase == io::Phase::evaluate;
    return in_round ? state.round : std::max<std::int64_t>(0, state.round - 1);
}

int evaluate_file(MpiSession& mpi, Arguments const& arguments) {
    std::string const model_path = arguments.positional()[0];
    LoadedDeck const deck = load_deck(arguments.positional()[1], arguments.all("set"), nullptr);
    JobOptions const& options = deck.options.job;
    Session session(mpi, deck.options);
    // The deck that is given says how to compute, not the one that the model was trained with.
    OpenedModel opened = open_model(session, model_path,
                                    {fmt::format("precision.compute=\"{}\"", name_of(options.precision.compute)),
                                     fmt::format("precision.batch_invariant={}", options.precision.batch_invariant)});
    std::unique_ptr<Corpus> heldout;
    agree(session.grid().world(), [&] {
        heldout = std::make_unique<Corpus>(session.io(), options.data.heldout, options.data.context,
                                           options.data.too_long, opened.config.vocabulary);
    });
    tell_too_long("data.heldout", *heldout, options.data);
    tell_other_tokenizer("data.heldout", *heldout, opened.info.tokenizer);
    opened.model->pack(session.arena());
    Progress progress("evaluation", 100, "%", session.is_root());
    Timer const timer;
    EvaluationCalls calls;
    calls.progress = [&](double done) {
        progress.update(100 * done);
        return true;
    };
    auto const result = evaluate(session.arena(), session.grid(), *opened.model, *heldout, *opened.tokenizer,
                                 opened.tokenizer->encode(options.weave.rac.marker), options.evaluate, options.generate,
                                 options.data.context, static_cast<std::uint64_t>(options.run.seed),
                                 opened.info.state.step, last_round(opened.info.state), calls);
    log::info("{} examples ({} skipped) in {}", result.examples, result.skipped, format_duration(timer.seconds()));
    if (session.is_root()) print_metrics(result.row);
    return 0;
}

}  // namespace

Command evaluate_command() {
    return {{"evaluate",
             "MODEL DECK",
             2,
             2,
             "one evaluation sweep on the deck's held-out data, as a table with 95% intervals (parallel)",
             {set_option()}},
            evaluate_file};
}

}  // namespace selvage

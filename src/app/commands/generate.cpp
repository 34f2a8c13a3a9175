// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdio>

#include "app/commands/commands.h"
#include "app/session.h"
#include "base/log.h"
#include "generate/engine.h"
#include "model/model.h"
#include "sweep/draft_sweep.h"
#include "weave/rac.h"

namespace selvage {
namespace {

// One answer to standard output as it comes; with turns each correction behind a line of its own.
int generate_text(Session& session, OpenedModel& opened, JobOptions const& options, std::string const& prompt, std::int64_t turns) {
    if (session.grid().world().size() > 1)
        fail(ExitCode::usage, "generate --prompt runs on one rank; start it without mpirun, or use --data for many prompts");
    Tokenizer const& tokenizer = *opened.tokenizer;
    if (prompt.empty()) fail(ExitCode::usage, "--prompt is empty (a model needs at least one token to start from); give some text");
    std::vector<Token> const question = tokenizer.encode(prompt);
    std::vector<Token> const marker = tokenizer.encode(options.weave.rac.marker);
    GenerateOptions generation = options.generate;
    generation.streams = 1;
    Engine engine(session.arena(), *opened.model, generation, options.data.context, tokenizer.special(),
                  static_cast<std::uint64_t>(options.run.seed));
    std::vector<Token> context = question;
    for (std::int32_t turn = 0; turn <= turns; ++turn) {
        std::vector<DraftRequest> requests(1);
        requests[0].prompt = context;
        requests[0].turn = turn;
        requests[0].max_new_tokens = generation.max_new_tokens;
        requests[0].sampler = generation.sampler;
        bool given = false;
        std::vector<Token> answer;
        std::string shown;
        Engine::Hooks hooks;
        hooks.next = [&]() -> std::optional<DraftRequest> {
            if (given) return std::nullopt;
            given = true;
            return requests[0];
        };
        hooks.exhausted = [&] { return given; };
        hooks.done = [](Draft&&) {};
        hooks.progress = [] { return true; };
        hooks.token = [&](Token token) {
            answer.push_back(token);
            std::string const text = tokenizer.decode(answer);
            std::fwrite(text.data() + shown.size(), 1, text.size() - shown.size(), stdout);
            std::fflush(stdout);
            shown = text;
        };
        engine.run(0, hooks);
        std::fputs("\n", stdout);
        if (turn < turns) std::printf("--- correction %d\n", turn + 1);
        context = weave::correction_prompt(question, answer, marker, tokenizer.special());
    }
    return 0;
}

int generate_file(Session& session, OpenedModel& opened, JobOptions const& options, Arguments const& arguments, std::int64_t turns) {
    std::string const output = arguments.required("output");
    Corpus const corpus = [&] {
        std::unique_ptr<Corpus> opened_corpus;
        agree(session.grid().world(), [&] {
            opened_corpus = std::make_unique<Corpus>(session.io(), std::vector<std::string>{arguments.value("data", "")}, options.data.context,
                                                     options.data.too_long, opened.config.vocabulary);
        });
        return std::move(*opened_corpus);
    }();
    DraftSweepResult result = draft_sweep(session.arena(), session.grid(), *opened.model, corpus, *opened.tokenizer, options, turns);
    agree(session.grid().world(), [&] {
        if (!session.is_root()) return;
        io::DraftsFile file;
        file.drafts = std::move(result.drafts);
        file.attributes.text["kind"] = "free";
        file.attributes.text["model"] = arguments.positional()[0];
        file.attributes.integers["policy_step"] = opened.info.state.step;
        file.attributes.text["policy_digest"] = opened.model->parameters().digest().hex();
        file.attributes.integers["seed"] = options.run.seed;
        file.attributes.numbers["temperature"] = options.generate.sampler.temperature;
        file.attributes.numbers["top_p"] = options.generate.sampler.top_p;
        file.attributes.integers["top_k"] = options.generate.sampler.top_k;
        io::write_drafts(session.io(), output, file);
    });
    log::info("{} tokens in {} drafts, {:.0f} tokens/s", result.tokens, result.count, static_cast<double>(result.tokens) / result.seconds);
    return 0;
}

int generate(MpiSession& mpi, Arguments const& arguments) {
    bool const text = arguments.flag("prompt");
    if (text == arguments.flag("data")) fail(ExitCode::usage, "generate needs --prompt \"...\" or --data FILE.h5 (one of them)");
    std::int64_t const turns = parse_count(arguments.value("turns", "0"), "--turns", 200);
    LoadedDeck const deck = deck_of_overrides(arguments.all("set"));
    Session session(mpi, deck.options);
    OpenedModel opened = open_model(session, arguments.positional()[0]);
    opened.model->pack(session.arena());
    if (text) return generate_text(session, opened, deck.options.job, arguments.value("prompt", ""), turns);
    return generate_file(session, opened, deck.options.job, arguments, turns);
}

}  // namespace

Command generate_command() {
    return {{"generate", "MODEL.h5", 1, 1, "answers: to standard output for one prompt, to a drafts file for many (parallel)",
             {{"prompt", "TEXT", "one prompt; its answer goes to standard output as it comes"},
              {"data", "FILE.h5", "data file whose prompts are answered"},
              {"output", "FILE.h5", "drafts to write, with --data"},
              {"turns", "N", "correction turns after the first answer (default 0)"},
              set_option()}},
            generate};
}

}  // namespace selvage

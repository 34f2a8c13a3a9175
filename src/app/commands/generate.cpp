// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <utility>

#include "app/commands/commands.h"
#include "app/session.h"
#include "base/log.h"
#include "base/timer.h"
#include "data/corpus.h"
#include "generate/distributed.h"
#include "model/model.h"
#include "sweep/draft_attributes.h"
#include "sweep/progress.h"
#include "text/correction.h"
#include "text/utf8.h"

namespace selvage {
namespace {

// Writes the text as its tokens come, a character when it is whole: a token may end in the middle of one.
std::vector<Token> stream_answer(Engine& engine, Tokenizer const& tokenizer, DraftRequest const& request) {
    bool given = false;
    std::vector<Token> answer;
    std::size_t shown = 0;
    auto const show = [&](std::string_view text) {
        if (text.size() <= shown) return;
        std::fwrite(text.data() + shown, 1, text.size() - shown, stdout);
        std::fflush(stdout);
        shown = text.size();
    };
    Engine::Hooks hooks;
    hooks.next = [&]() -> std::optional<DraftRequest> {
        if (std::exchange(given, true)) return std::nullopt;
        return request;
    };
    hooks.exhausted = [&] { return given; };
    hooks.done = [](Draft&&) {};
    hooks.progress = [] { return true; };
    hooks.token = [&](Token token) {
        answer.push_back(token);
        std::string const text = tokenizer.decode(answer);
        show({text.data(), whole_characters(text)});
    };
    engine.run(0, hooks);
    show(tokenizer.decode(answer));
    std::fputs("\n", stdout);
    std::fflush(stdout);
    return answer;
}

// A prompt must leave room for an answer; with data.too_long = "truncate" it loses its beginning for that.
std::vector<Token> fit_prompt(std::vector<Token> question, JobOptions const& options) {
    auto const tokens = static_cast<std::int64_t>(question.size());
    std::int64_t const context = options.data.context;
    if (tokens < context) return question;
    if (options.data.too_long == TooLong::drop)
        fail(ExitCode::bad_data,
             "the prompt has {} tokens, and data.context = {} leaves no room for an answer; shorten it, raise "
             "data.context, or cut its beginning with --set 'data.too_long=\"truncate\"'",
             tokens, context);
    std::int64_t const kept = std::max(context / 2, context - options.generate.max_new_tokens);
    log::warning("the prompt has {} tokens, data.context is {}: the first {} are cut", tokens, context, tokens - kept);
    question.erase(question.begin(), question.end() - kept);
    return question;
}

// Numbers with spaces or commas between them.
std::vector<Token> parse_ids(std::string const& text) {
    std::vector<Token> ids;
    char const* const end = text.data() + text.size();
    for (char const* at = text.data(); at != end;) {
        if (*at == ' ' || *at == ',' || *at == '\n') {
            ++at;
            continue;
        }
        auto const [next, error] = std::from_chars(at, end, ids.emplace_back());
        if (error != std::errc{} || ids.back() < 0)
            fail(ExitCode::usage, "--prompt-ids has '{}' at character {}; give token ids with spaces between them",
                 std::string(at, std::min(end, at + 20)), at - text.data() + 1);
        at = next;
    }
    return ids;
}

// A tokenizer may have more ids than the model.
void check_ids(std::vector<Token> const& tokens, char const* of, std::int64_t vocabulary) {
    for (std::size_t i = 0; i < tokens.size(); ++i)
        if (tokens[i] >= vocabulary)
            fail(ExitCode::bad_data,
                 "token {} of {} has the id {}, outside the model's vocabulary of {}; encode it with the model's own "
                 "tokenizer",
                 i + 1, of, tokens[i], vocabulary);
}

std::vector<Token> read_prompt(Arguments const& arguments, Tokenizer const& tokenizer) {
    char const* const option = arguments.flag("prompt") ? "prompt" : "prompt-ids";
    std::string const given = arguments.value(option, "");
    std::vector<Token> tokens = arguments.flag("prompt") ? tokenizer.encode(given) : parse_ids(given);
    if (tokens.empty())
        fail(ExitCode::usage, "--{} is empty (a model needs at least one token to start from); give some", option);
    if (arguments.flag("begin")) {
        require_begin(tokenizer);
        tokens.insert(tokens.begin(), tokenizer.special().begin);
    }
    return tokens;
}

// One answer to standard output; with turns each correction behind a line of its own.
int generate_text(Session& session, OpenedModel& opened, JobOptions const& options, Arguments const& arguments,
                  std::int64_t turns) {
    if (session.grid().world().size() > 1)
        fail(ExitCode::usage,
             "generate --prompt runs on one rank; start it without mpirun, or use --data for many prompts");
    Tokenizer const& tokenizer = *opened.tokenizer;
    std::vector<Token> const question = fit_prompt(read_prompt(arguments, tokenizer), options);
    std::vector<Token> const marker = turns > 0 ? tokenizer.encode(options.weave.rac.marker) : std::vector<Token>{};
    check_ids(question, "the prompt", opened.config.vocabulary);
    check_ids(marker, "weave.rac.template", opened.config.vocabulary);
    GenerateOptions generation = options.generate;
    generation.streams = 1;
    Engine engine(session.arena(), *opened.model, generation, options.data.context, tokenizer.special(),
                  static_cast<std::uint64_t>(options.run.seed));
    DraftRequest request;
    request.prompt = question;
    request.max_new_tokens = generation.max_new_tokens;
    request.sampler = generation.sampler;
    for (std::int64_t turn = 0;; ++turn) {
        if (turn > 0) std::printf("--- correction %lld\n", static_cast<long long>(turn));
        std::vector<Token> const answer = stream_answer(engine, tokenizer, request);
        if (turn == turns) break;
        auto const next = correction_prompt(question, without_end(answer, tokenizer.special().end_of_answer), marker,
                                            options.data.context, generation.max_new_tokens);
        if (!next) {
            log::warning("data.context = {} leaves no room for a correction of this prompt; raise it with --set",
                         options.data.context);
            break;
        }
        request.prompt = next->tokens;
        request.max_new_tokens = next->max_new_tokens;
        ++request.turn;
    }
    return 0;
}

std::unique_ptr<Corpus> open_prompts(Session& session, OpenedModel const& opened, DataOptions const& options,
                                     std::string const& path) {
    std::unique_ptr<Corpus> corpus;
    agree(session.grid().world(), [&] {
        corpus = std::make_unique<Corpus>(session.io(), std::vector<std::string>{path}, options.context,
                                          options.too_long, opened.config.vocabulary);
    });
    tell_too_long(path, *corpus, options);
    tell_other_tokenizer(path, *corpus, opened.info.tokenizer);
    return corpus;
}

// Drafts of every example and sample, each with its correction turns.
DistributedDrafts answer_all(Session& session, OpenedModel& opened, JobOptions const& options, Corpus const& corpus,
                             std::int64_t turns) {
    Tokenizer const& tokenizer = *opened.tokenizer;
    std::vector<Token> const marker = turns > 0 ? tokenizer.encode(options.weave.rac.marker) : std::vector<Token>{};
    std::map<std::int64_t, std::int64_t> place;  // of an example in the corpus, by its row
    for (std::int64_t i = 0; i < corpus.size(); ++i) place[corpus.index(i)] = i;
    GenerateOptions const& generation = options.generate;
    DistributedWork work;
    work.items = corpus.size() * generation.samples;
    work.request = [&](std::int64_t item) {
        Example const example = corpus.example(item / generation.samples);
        DraftRequest request;
        request.example = example.index;
        request.sample = static_cast<std::int32_t>(item % generation.samples);
        request.prompt = example.prompt;
        request.max_new_tokens = generation.max_new_tokens;
        request.sampler = generation.sampler;
        return request;
    };
    work.follow_up = [&](Draft const& draft) -> std::optional<DraftRequest> {
        if (draft.turn >= turns) return std::nullopt;
        Example const example = corpus.example(place.at(draft.example));
        auto next = correction_prompt(example.prompt, without_end(draft.tokens, tokenizer.special().end_of_answer),
                                      marker, options.data.context, generation.max_new_tokens);
        if (!next) return std::nullopt;
        DraftRequest request;
        request.example = draft.example;
        request.sample = draft.sample;
        request.turn = draft.turn + 1;
        request.prompt = std::move(next->tokens);
        request.max_new_tokens = next->max_new_tokens;
        request.sampler = generation.sampler;
        return request;
    };
    Progress progress("generation", work.items * (turns + 1), "drafts", session.is_root());
    work.progress = [&](std::int64_t done) {
        progress.update(static_cast<double>(done * session.grid().data().size()));
        return true;
    };
    Engine engine(session.arena(), *opened.model, generation, options.data.context, tokenizer.special(),
                  static_cast<std::uint64_t>(options.run.seed));
    ProcessGrid const& grid = session.grid();
    return run_distributed(engine, grid.data(), 0, generation.streams, work, &grid.axis(Axis::tensor));
}

int generate_file(Session& session, OpenedModel& opened, JobOptions const& options, Arguments const& arguments,
                  std::int64_t turns) {
    std::string const output = arguments.required("output");
    auto const corpus = open_prompts(session, opened, options.data, arguments.value("data", ""));
    Timer const timer;
    DistributedDrafts const mine = answer_all(session, opened, options, *corpus, turns);
    auto const drafts = gather_drafts(session.grid().data(), mine.drafts);
    std::int64_t tokens = 0;
    for (Draft const& draft : drafts) tokens += static_cast<std::int64_t>(draft.tokens.size());
    std::string const policy = policy_digest(opened.model->parameters(), session.grid());
    agree(session.grid().world(), [&] {
        if (!session.is_root()) return;
        io::DraftsFile file;
        file.drafts = drafts;
        file.attributes.text["model"] = arguments.positional()[0];
        describe_drafts(file.attributes, "free", opened.info.state.step, policy, options.generate.sampler,
                        options.run.seed);
        io::write_drafts(session.io(), output, file);
    });
    std::int64_t const missing =
        corpus->size() * options.generate.samples * (turns + 1) - static_cast<std::int64_t>(drafts.size());
    if (session.is_root() && missing > 0)
        log::warning("{} corrections were left out: prompt and weave.rac.template fill data.context = {}", missing,
                     options.data.context);
    log::info("{} tokens in {} drafts, {:.0f} tokens/s", tokens, drafts.size(),
              static_cast<double>(tokens) / timer.seconds());
    return 0;
}

std::int64_t parse_turns(std::string const& text) {
    std::int64_t turns = -1;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), turns);
    if (error != std::errc{} || end != text.data() + text.size() || turns < 0 || turns > 200)
        fail(ExitCode::usage, "--turns is '{}'; give a number from 0 to 200", text);
    return turns;
}

int generate(MpiSession& mpi, Arguments const& arguments) {
    bool const file = arguments.flag("data");
    if (file + arguments.flag("prompt") + arguments.flag("prompt-ids") != 1)
        fail(ExitCode::usage,
             "generate needs --prompt TEXT, --prompt-ids \"N N ...\" or --data FILE.h5, one of them; see selvage "
             "generate "
             "--help");
    std::int64_t const turns = parse_turns(arguments.value("turns", "0"));
    LoadedDeck const deck = deck_of_overrides(arguments.all("set"));
    Session session(mpi, deck.options);
    OpenedModel opened = open_model(session, arguments.positional()[0], arguments.all("set"));
    opened.model->pack(session.arena());
    // What the model was trained with (template, context, sampler) holds unless --set says otherwise.
    JobOptions const options = deck_of_overrides(arguments.all("set"), opened.info.deck).options.job;
    if (file) return generate_file(session, opened, options, arguments, turns);
    return generate_text(session, opened, options, arguments, turns);
}

}  // namespace

Command generate_command() {
    return {{"generate",
             "MODEL",
             1,
             1,
             "answers of a model, a checkpoint or a Hugging Face folder: to standard output for one prompt, to a "
             "drafts file for many (parallel)",
             {{"prompt", "TEXT", "one prompt; its answer goes to standard output as it comes"},
              {"prompt-ids", "\"N N ...\"", "the same, the prompt as token ids (for tokenizers of other libraries)"},
              {"begin", "", "put the tokenizer's begin token in front of the prompt, as prepare --begin does"},
              {"data", "FILE.h5", "data file whose prompts are answered"},
              {"output", "FILE.h5", "drafts to write, with --data"},
              {"turns", "N", "correction turns after the first answer (default 0)"},
              set_option()}},
            generate};
}

}  // namespace selvage

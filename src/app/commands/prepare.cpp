// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cstdio>

#include "app/commands/commands.h"
#include "app/session.h"
#include "data/prepare.h"

namespace selvage {
namespace {

bool drops(Arguments const& arguments, char const* option, std::string const& otherwise) {
    std::string const value = arguments.value(option, otherwise);
    if (value != "drop" && value != otherwise)
        fail(ExitCode::usage, "--{} is '{}'; give {} or drop", option, value, otherwise);
    return value == "drop";
}

PrepareOptions options_of(Arguments const& arguments) {
    PrepareOptions options;
    options.begin = arguments.flag("begin");
    options.drop_bad_lines = drops(arguments, "bad-lines", "error");
    options.drop_duplicates = drops(arguments, "duplicates", "keep");
    std::string const text = arguments.value("max-tokens", "0");
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), options.max_tokens);
    if (error != std::errc{} || end != text.data() + text.size() || options.max_tokens < 0)
        fail(ExitCode::usage, "--max-tokens is '{}'; give a number of tokens, or 0 for no limit", text);
    return options;
}

int prepare(MpiSession& mpi, Arguments const& arguments) {
    arguments.required("input");
    std::vector<std::string> const inputs = arguments.all("input");
    std::string const output = arguments.required("output");
    PrepareOptions const options = options_of(arguments);
    auto const tokenizer = open_tokenizer(arguments.required("tokenizer"));
    if (options.begin) require_begin(*tokenizer);
    auto const io = open_io(mpi);
    auto const world = mpi.world();
    PreparedData const data = prepare_data(*world, inputs, *tokenizer, options);
    agree(*world, [&] {
        if (world->rank() != 0) return;
        io::write_data(*io, output, data.file);
        std::printf("%s: %lld pairs, %zu tokens, tokenizer %s with %d pieces\n%s", output.c_str(),
                    static_cast<long long>(data.file.pairs()), data.file.tokens.size(),
                    data.file.tokenizer.kind.c_str(), tokenizer->size(), describe(data, inputs, options).c_str());
    });
    return 0;
}

}  // namespace

Command prepare_command() {
    return {{"prepare",
             "",
             0,
             0,
             "text pairs or conversations (JSONL, also gzip or zstd) to tokens (parallel)",
             {{"input", "FILE.jsonl", "lines {\"prompt\", \"response\"} or {\"messages\"}", true},
              {"output", "FILE.h5", "data file to write"},
              {"tokenizer", "bytes/FILE.model", "the byte tokenizer, or a sentencepiece model"},
              {"begin", "", "put the tokenizer's begin token in front of every prompt"},
              {"bad-lines", "error/drop", "a line that is no pair: stop there (default), or leave it out"},
              {"duplicates", "keep/drop", "pairs that stood before: keep (default), or leave out"},
              {"max-tokens", "N", "leave out pairs of more tokens (default 0: none)"}}},
            prepare};
}

}  // namespace selvage

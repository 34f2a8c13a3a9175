// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include "app/commands/commands.h"
#include "app/session.h"
#include "base/log.h"
#include "data/prepare.h"

namespace selvage {
namespace {

int prepare(MpiSession& mpi, Arguments const& arguments) {
    std::string const input = arguments.required("input");
    std::string const output = arguments.required("output");
    auto const tokenizer = open_tokenizer(arguments.required("tokenizer"));
    auto const io = open_io(mpi);
    auto const world = mpi.world();
    agree(*world, [&] {
        if (world->rank() != 0) return;
        io::DataFile const file = prepare_data(input, *tokenizer);
        io::write_data(*io, output, file);
        std::int64_t longest = 0;
        for (std::size_t i = 0; i + 1 < file.offsets.size(); ++i)
            longest = std::max(longest, file.offsets[i + 1] - file.offsets[i]);
        std::printf(
            "%s: %lld pairs, %zu tokens (%.1f a pair, longest %lld), tokenizer %s with %d pieces\n", output.c_str(),
            static_cast<long long>(file.pairs()), file.tokens.size(),
            static_cast<double>(file.tokens.size()) / static_cast<double>(std::max<std::int64_t>(file.pairs(), 1)),
            static_cast<long long>(longest), file.tokenizer.kind.c_str(), tokenizer->size());
    });
    return 0;
}

}  // namespace

Command prepare_command() {
    return {{"prepare",
             "",
             0,
             0,
             "text pairs (JSONL lines {\"prompt\": ..., \"response\": ...}) to tokens",
             {{"input", "FILE.jsonl", "text pairs"},
              {"output", "FILE.h5", "data file to write"},
              {"tokenizer", "bytes/FILE.model", "the byte tokenizer, or a sentencepiece model"}}},
            prepare};
}

}  // namespace selvage

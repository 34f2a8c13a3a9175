// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "app/commands/commands.h"
#include "app/session.h"
#include "base/log.h"
#include "generate/forced.h"
#include "model/model.h"

namespace selvage {
namespace {

// Log-probabilities of one rank's sequences, one after the other; 0 for first tokens.
std::vector<float> score_range(Session& session, Model& model, io::DataFile const& data, Range pairs) {
    constexpr std::int64_t at_once = 64;
    std::int64_t longest = 1;
    for (std::int64_t i = pairs.begin; i < pairs.end; ++i)
        longest = std::max(longest,
                           data.offsets[static_cast<std::size_t>(i) + 1] - data.offsets[static_cast<std::size_t>(i)]);
    ForcedPass pass(session.arena(), model, std::max<std::int64_t>(longest, 1024), 0);
    std::vector<float> scores;
    for (std::int64_t begin = pairs.begin; begin < pairs.end; begin += at_once) {
        std::vector<ForcedSequence> sequences;
        for (std::int64_t i = begin; i < std::min(pairs.end, begin + at_once); ++i) {
            auto const* const first = data.tokens.data() + data.offsets[static_cast<std::size_t>(i)];
            auto const* const last = data.tokens.data() + data.offsets[static_cast<std::size_t>(i) + 1];
            sequences.push_back({i, 0, 0, {first, last - 1}, 0, {first + 1, last}});
        }
        for (ForcedResult const& result : pass.run(sequences, nullptr, 0, Purpose::sample)) {
            scores.push_back(0);
            scores.insert(scores.end(), result.logprob.begin(), result.logprob.end());
        }
    }
    return scores;
}

void check_vocabulary(io::DataFile const& data, std::string const& path, std::int64_t vocabulary,
                      std::string const& model) {
    auto const outside = std::ranges::find_if(data.tokens, [&](Token id) { return id < 0 || id >= vocabulary; });
    if (outside == data.tokens.end()) return;
    auto const row = std::ranges::upper_bound(data.offsets, outside - data.tokens.begin()) - data.offsets.begin() - 1;
    fail(ExitCode::bad_data,
         "{}: row {}: token id {} is outside the vocabulary of {} ({}); prepare the data with the model's tokenizer",
         path, row, *outside, vocabulary, model);
}

int score(MpiSession& mpi, Arguments const& arguments) {
    std::string const model_path = arguments.positional()[0];
    std::string const data_path = arguments.required("data");
    std::string const output = arguments.required("output");
    LoadedDeck const deck = deck_of_overrides(arguments.all("set"));
    Session session(mpi, deck.options);
    OpenedModel opened = open_model(session, model_path, arguments.all("set"));
    Communicator& world = session.grid().world();
    Communicator& ranks = session.grid().data();

    io::DataFile data;
    agree(world, [&] {
        data = io::read_data(session.io(), data_path);
        check_vocabulary(data, data_path, opened.config.vocabulary, model_path);
    });
    if (session.is_root() && !data.tokenizer.reads_as(opened.info.tokenizer))
        log::warning("{} was prepared with another tokenizer than the model's", data_path);
    std::vector<float> mine;
    agree(world, [&] {
        opened.model->pack(session.arena());
        mine = score_range(session, *opened.model, data, EvenSplit(data.pairs(), ranks.size()).part(ranks.rank()));
    });
    auto const parts = gather_bytes(ranks, std::as_bytes(std::span(mine)), 0);
    agree(world, [&] {
        if (!session.is_root()) return;
        io::ScoresFile file{data.tokens, data.offsets, {}, {}};
        for (auto const& part : parts) {
            auto const* const values = reinterpret_cast<float const*>(part.data());
            file.logprob.insert(file.logprob.end(), values, values + part.size() / sizeof(float));
        }
        file.attributes.text["model"] = model_path;
        file.attributes.text["data"] = data_path;
        io::write_scores(session.io(), output, file);
    });
    log::info("scored {} tokens of {} sequences", data.tokens.size(), data.pairs());
    return 0;
}

}  // namespace

Command score_command() {
    return {{"score",
             "MODEL",
             1,
             1,
             "log-probability of every token of the data under teacher forcing (parallel)",
             {{"data", "FILE.h5", "data file"}, {"output", "FILE.h5", "scores to write"}, set_option()}},
            score};
}

}  // namespace selvage

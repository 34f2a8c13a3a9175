// SPDX-License-Identifier: Apache-2.0
#include "sweep/validation.h"

#include <algorithm>

#include "evaluate/bootstrap.h"
#include "generate/forced.h"

namespace selvage {
namespace {

struct ExampleNll {
    double nll = 0;
    double tokens = 0;
};

constexpr std::int64_t at_once = 64;  // sequences in memory

// Of one rank's examples, in order.
std::vector<ExampleNll> nll_of(Arena& arena, Model& model, Corpus const& validation,
                               std::vector<std::int64_t> const& items, Range share, JobOptions const& options) {
    std::int64_t const rows = std::max(options.data.context, options.train.micro_batch_tokens);
    ForcedPass pass(arena, model, rows, static_cast<std::uint64_t>(options.run.seed));
    std::vector<ExampleNll> out;
    for (std::int64_t begin = share.begin; begin < share.end; begin += at_once) {
        std::vector<ForcedSequence> sequences;
        for (std::int64_t i = begin; i < std::min(share.end, begin + at_once); ++i) {
            Example example = validation.example(items[static_cast<std::size_t>(i)]);
            auto const first = static_cast<std::int64_t>(example.prompt.size()) - 1;
            std::vector<Token> inputs = std::move(example.prompt);
            inputs.insert(inputs.end(), example.answer.begin(), example.answer.end() - 1);
            sequences.push_back({example.index, 0, 0, std::move(inputs), first, std::move(example.answer)});
        }
        for (ForcedResult const& result : pass.run(sequences, nullptr, 0, Purpose::sample)) {
            ExampleNll one;
            for (float const logprob : result.logprob) one.nll -= static_cast<double>(logprob);
            one.tokens = static_cast<double>(result.logprob.size());
            out.push_back(one);
        }
    }
    return out;
}

}  // namespace

io::MetricValue validation_nll(Arena& arena, ProcessGrid const& grid, Model& model, Corpus const& validation,
                               JobOptions const& options) {
    Communicator& data = grid.data();
    auto const items = choose_examples(validation.size(), options.evaluate.examples);
    Range const share = EvenSplit(static_cast<std::int64_t>(items.size()), data.size()).part(data.rank());
    auto const mine = nll_of(arena, model, validation, items, share, options);
    RatioSeries series;
    for (auto const& part : gather_bytes(data, std::as_bytes(std::span(mine)), 0)) {
        auto const* const all = reinterpret_cast<ExampleNll const*>(part.data());
        for (std::size_t i = 0; i < part.size() / sizeof(ExampleNll); ++i) {
            series.numerator.push_back(all[i].nll);
            series.denominator.push_back(all[i].tokens);
        }
    }
    if (data.rank() != 0) return {};
    auto const count = static_cast<std::int64_t>(series.numerator.size());
    auto const estimate = bootstrap_ratios(std::span(&series, 1), count, static_cast<std::uint64_t>(options.run.seed));
    return {estimate[0].value, estimate[0].low, estimate[0].high, {}, {}};
}

}  // namespace selvage

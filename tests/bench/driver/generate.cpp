// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "driver/job.h"
#include "driver/modes.h"
#include "driver/rounds.h"
#include "generate/engine.h"

namespace selvage::bench {
namespace {

constexpr SpecialTokens none;              // no answer ends before its length
constexpr std::int64_t plenty_mib = 8192;  // the engine takes what its streams can use

std::vector<DraftRequest> requests_of(Options const& options, ModelConfig const& config, int rank) {
    Random const random(12, Purpose::test);
    std::vector<DraftRequest> requests(static_cast<std::size_t>(options.streams));
    for (std::size_t i = 0; i < requests.size(); ++i) {
        DraftRequest& request = requests[i];
        request.example = rank * options.streams + static_cast<std::int64_t>(i);
        request.max_new_tokens = options.new_tokens;
        for (std::int64_t at = 0; at < options.prompt(); ++at) {
            double const draw =
                random.uniform({static_cast<std::uint32_t>(request.example), static_cast<std::uint32_t>(at), 0});
            request.prompt.push_back(static_cast<Token>(draw * static_cast<double>(config.vocabulary)));
        }
    }
    return requests;
}

GenerateOptions generate_options(Options const& options) {
    GenerateOptions generate;
    generate.streams = options.streams;
    generate.max_new_tokens = options.new_tokens;
    generate.cache_mib = plenty_mib;
    return generate;
}

}  // namespace

void generate(MpiSession& mpi, Options const& options) {
    Job job(mpi, options);
    ModelConfig const& config = job.model().config();
    job.model().pack(job.arena());  // once a sweep
    Engine engine(job.arena(), job.model(), generate_options(options), options.prompt() + options.new_tokens, none, 1);
    auto const requests = requests_of(options, config, job.world().rank());
    std::int64_t number = 0, drawn = 0;
    auto const sweep = [&] {
        drawn = 0;
        for (Draft const& draft : engine.run_all(++number, requests))
            drawn += static_cast<std::int64_t>(draft.tokens.size());
    };
    timed(job.world(), sweep);  // the first one makes the products' primitives
    auto const round = [&]() -> Numbers {
        double const seconds = timed(job.world(), sweep);
        std::int64_t const tokens = sum_over(job.world(), drawn);
        SELVAGE_CHECK(tokens == job.world().size() * options.streams * options.new_tokens, "{} new tokens", tokens);
        return {{"seconds", seconds}, {"tokens", static_cast<double>(tokens)}};
    };
    serve_rounds(job.world(), {{"matrix_elements", static_cast<double>(matrix_elements(config))}}, round);
}

}  // namespace selvage::bench

// SPDX-License-Identifier: Apache-2.0
#include "driver/generation.h"

#include "base/error.h"
#include "base/philox.h"

namespace selvage::bench {
namespace {

constexpr SpecialTokens none;                 // no answer ends before its length
constexpr std::int64_t plenty_mib = 1 << 17;  // the engine takes what its streams can use

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

Model& packed(Job& job) {
    job.model().pack(job.arena());  // once a sweep
    return job.model();
}

}  // namespace

Generation::Generation(Job& job, Options const& options)
    : requests_(requests_of(options, job.model().config(), job.world().rank())),
      tokens_(options.streams * options.new_tokens),
      engine_(job.arena(), packed(job), generate_options(options), options.prompt() + options.new_tokens, none, 1) {}

std::int64_t Generation::sweep() {
    std::int64_t drawn = 0;
    for (Draft const& draft : engine_.run_all(++number_, requests_))
        drawn += static_cast<std::int64_t>(draft.tokens.size());
    SELVAGE_CHECK(drawn == tokens_, "{} new tokens", drawn);
    return drawn;
}

}  // namespace selvage::bench

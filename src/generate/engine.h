// SPDX-License-Identifier: Apache-2.0
#pragma once
// Token-by-token generation of many answers at once on a paged KV cache. A token's bits depend on its own context, the
// weights and its DrawIndex alone: not on the number of streams, the order of requests, or the ranks.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/philox.h"
#include "generate/sampler.h"
#include "model/model.h"
#include "model/replayed_forward.h"
#include "text/records.h"
#include "text/tokenizer.h"

namespace selvage {

struct GenerateOptions {
    std::int64_t examples = 0;  // drafts per round; 0: what the training sweep needs
    std::int64_t samples = 1;
    std::int64_t streams = 32;  // sequences decoded at once, per rank
    std::int64_t max_new_tokens = 128;
    SamplerOptions sampler;
    std::int64_t cache_mib = 256;  // KV pages, per rank
};

struct DraftRequest {
    std::int64_t example = 0;
    std::int32_t sample = 0;
    std::int32_t turn = 0;
    std::vector<Token> prompt;  // at least one token
    // Of a free draft, which also ends where prompt and answer fill the context (without a token where the prompt
    // does).
    std::int64_t max_new_tokens = 128;
    SamplerOptions sampler;
    Purpose purpose = Purpose::sample;
    // BASH mixed: the gold answer, and which positions 1..T-1 read the own token. The own token of every position is
    // drawn and recorded; what is read on is own (unless special) or gold. Ends after the gold answer's length, finish
    // reason end_of_answer. Empty for a free draft.
    std::vector<Token> gold;
    std::vector<std::uint8_t> use_own;
};

class Engine {
  public:
    // Memory: `cache_mib` of KV pages; a request that can never fit is Error(bad_data) with the figures. Sequences that
    // run out of pages are stopped and run again later from their own tokens, to the same bits. Replay::never is for
    // comparison: the bits are the same.
    Engine(Arena& arena, Model& model, GenerateOptions const& options, std::int64_t context, SpecialTokens special,
           std::uint64_t seed, Replay replay = Replay::where_possible);
    ~Engine();

    struct Hooks {
        std::function<std::optional<DraftRequest>()> next;  // nullopt: nothing more for now (asked again each step)
        std::function<bool()> exhausted;                    // true: `next` will never give more
        std::function<void(Draft&&)> done;
        std::function<bool()> progress;    // called every step; false stops
        std::function<void(Token)> token;  // optional: every new token, for streaming one request
    };
    // Draws use DrawIndex{round, example, position in the answer, sample, turn}.
    void run(std::int64_t round, Hooks const& hooks);
    // Everything in `requests`, drafts in the same order.
    std::vector<Draft> run_all(std::int64_t round, std::vector<DraftRequest> requests);

    struct Counters {
        std::int64_t generated_tokens = 0;
        std::int64_t prefill_tokens = 0;
        std::int64_t shared_tokens = 0;  // of prompts, not computed as another sequence's pages held them
        std::int64_t steps = 0;
        std::int64_t replayed_steps = 0;  // whose launches were recorded before
        std::int64_t preemptions = 0;
        double busy_seconds = 0;
    };
    Counters counters() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// One parallel forward pass over given tokens (teacher forcing): log-probabilities, argmax predictions, and own tokens
// for BASH's forced drafts. The same bits as token-by-token generation on the same contexts.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/philox.h"
#include "generate/sampler.h"
#include "model/model.h"
#include "text/records.h"

namespace selvage {

struct ForcedSequence {
    std::int64_t example = 0;
    std::int32_t sample = 0;
    std::int32_t turn = 0;
    std::vector<Token> inputs;   // what the model reads, positions 0..n-1
    std::int64_t first = 0;      // predictions are made from positions first..n-1
    std::vector<Token> targets;  // n - first tokens whose log-probability is wanted; may be empty
};
struct ForcedResult {
    std::vector<float> logprob;              // of targets
    std::vector<Token> argmax;               // per prediction
    std::vector<Token> sampled;              // per prediction, where a sampler was given
    std::vector<float> sampled_own_logprob;  // log-probability of `sampled` under the model itself
    std::vector<float> sampled_logprob;      // and under the sampler
};

class ForcedPass {
  public:
    // `rows`: tokens in one forward pass (sequences are packed in order; every one must fit).
    ForcedPass(Arena& arena, Model& model, std::int64_t rows, std::uint64_t seed);
    ~ForcedPass();
    // sampler may be nullptr. Draws use DrawIndex{round, example, prediction's place in the answer, sample, turn} - the
    // same as Engine's. Results in the order of `sequences`.
    std::vector<ForcedResult> run(std::span<ForcedSequence const> sequences, SamplerOptions const* sampler,
                                  std::int64_t round, Purpose purpose);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace selvage

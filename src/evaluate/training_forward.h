// SPDX-License-Identifier: Apache-2.0
#pragma once
// Log-probabilities as a training step computes them: packed rows, a workspace that keeps the activations, the log-sum-
// exp of the loss. The other side of the numeric gap.
#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace selvage {

struct ScoredSequence {
    std::vector<std::int32_t> tokens;  // prompt and answer
    std::int64_t answer_start = 0;     // at least 1
};

class TrainingForward {
  public:
    // `rows`: input tokens of one forward pass; every sequence must fit.
    TrainingForward(Arena& arena, Model& model, std::int64_t rows);
    // Per sequence the log-probability of tokens[answer_start..].
    std::vector<std::vector<float>> run(std::span<ScoredSequence const> sequences);

  private:
    void run_packed(std::span<ScoredSequence const> sequences, std::span<std::vector<float>> out);

    Model& model_;
    Stream stream_;
    std::int64_t rows_;
    KvCache cache_;
    Workspace workspace_;
    Tensor logits_, log_sum_exp_, log_probability_;
};

}  // namespace selvage

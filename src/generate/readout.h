// SPDX-License-Identifier: Apache-2.0
#pragma once
// From hidden rows to tokens and log-probabilities: the part that generation and the forced pass share.
#include <cstdint>
#include <span>
#include <vector>

#include "base/philox.h"
#include "generate/sampler.h"
#include "kernels/sampling.h"
#include "model/model.h"

namespace selvage {

struct Draw {
    SamplerOptions sampler;
    std::uint64_t bits = 0;
};
// The random bits of the token at `position` (from 0) of an answer.
std::uint64_t draw_bits(std::uint64_t seed, Purpose purpose, std::int64_t round, std::int64_t example,
                        std::int64_t position, std::int32_t sample, std::int32_t turn);

class Readout {
  public:
    // At most `rows` rows at once.
    Readout(Arena& arena, Model& model, std::int64_t rows);
    std::int64_t most_rows() const { return most_rows_; }

    // Logits of some rows of `hidden`, for the calls below.
    void read(TensorView hidden, std::span<std::int32_t const> rows);
    // One token per row read; argmax and sample choose among model.drawable_ids(). The log-probabilities are those of
    // training: temperature 1, nothing cut. log_probability and sample are an error (bad_data) where a row's
    // log-sum-exp is not finite.
    void log_probability(std::span<float> out, std::span<Token const> tokens);
    void argmax(std::span<Token> out);
    void sample(std::span<SampledToken> out, std::span<Draw const> draws);

  private:
    void check_finite();

    Model& model_;
    Stream stream_;
    std::int64_t most_rows_;
    std::int64_t rows_ = 0;
    bool summed_ = false;  // log_sum_exp_ is that of the rows read
    Tensor hidden_, logits_, log_sum_exp_, tokens_, values_;
    std::vector<Token> host_tokens_;
    std::vector<float> host_values_;  // of log_sum_exp_ or values_
    std::vector<kernels::Sampling> samplings_;
};

}  // namespace selvage

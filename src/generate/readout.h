// SPDX-License-Identifier: Apache-2.0
#pragma once
// From hidden rows to tokens and log-probabilities: the part that generation and the forced pass share.
#include <cstdint>
#include <span>
#include <vector>

#include "base/philox.h"
#include "generate/sampler.h"
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

    // Logits of some rows of `hidden`, and their log-sum-exp, for the calls below. Error (bad_data): not finite.
    void read(TensorView hidden, std::span<std::int32_t const> rows);
    // One token per row read; argmax and sample choose among model.drawable_ids(). The functions of training:
    // temperature 1, nothing cut.
    void log_probability(std::span<float> out, std::span<Token const> tokens);
    void argmax(std::span<Token> out);
    void sample(std::span<SampledToken> out, std::span<Draw const> draws);

  private:
    void sample_block(std::span<SampledToken> out, std::span<Draw const> draws, std::int64_t first);

    Model& model_;
    Stream stream_;
    std::int64_t most_rows_;
    std::int64_t rows_ = 0;
    Tensor hidden_, logits_, log_sum_exp_, tokens_, values_, weights_;
};

}  // namespace selvage

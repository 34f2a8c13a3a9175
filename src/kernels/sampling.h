// SPDX-License-Identifier: Apache-2.0
#pragma once
// Drawing tokens from logits. The weight of a token is the whole number floor(exp((logit - max) / temperature) 2^40),
// max over the ids that may be drawn; sums over any part of the vocabulary are therefore exact, and the token is the
// same for any number of threads and any instruction set.
#include <cstdint>
#include <span>

#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

// How one row draws. top_k (0: no limit) cuts first, then top_p what is left: a prefix of the tokens in the order
// (weight descending, id ascending). The token is the first in id order whose cumulative weight exceeds floor(bits *
// total / 2^64). A temperature that is 0 as a float takes the largest logit, ties to the lowest id.
struct Sampling {
    double temperature = 1;
    double top_p = 1;
    std::int64_t top_k = 0;
    std::uint64_t bits = 0;
};

// tokens i32 [rows], drawn from the first `ids` columns of logits[rows, vocabulary], and log_probability f32 [rows] =
// log(weight / total of what the cuts kept), 0 for temperature 0. log_sum_exp [rows], unless empty, is filled as by
// log_sum_exp() (softmax.h), in the same pass; where it is not finite nothing is drawn (token 0). The vocabulary is at
// most 2^22.
void sample(TensorView tokens, TensorView log_probability, TensorView log_sum_exp, TensorView logits, std::int64_t ids,
            std::span<Sampling const> rows, Stream& stream);

}  // namespace selvage::kernels

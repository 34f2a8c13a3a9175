// SPDX-License-Identifier: Apache-2.0
#pragma once
// Exact sampling: weights are integers, so totals, cuts and the inverse CDF are the same for any split of the
// vocabulary.
#include <cstdint>
#include <span>

#include "text/records.h"

namespace selvage {

struct SamplerOptions {
    double temperature = 1;  // 0: the largest logit, ties to the lowest id
    double top_p = 1;
    std::int64_t top_k = 0;  // 0: no limit
    bool operator==(SamplerOptions const&) const = default;
};

struct SampledToken {
    Token token = 0;
    float sampled_logprob = 0;  // log(weight / kept total); 0 for temperature 0
};

// weights: fixed_point_weights() of one row (kernels/softmax.h). top-k first, then top-p of what is left; order by
// weight, ties by id. `bits` is the draw. Walks the vocabulary in id order.
SampledToken sample_token(std::span<std::int64_t const> weights, SamplerOptions const& options, std::uint64_t bits);

}  // namespace selvage

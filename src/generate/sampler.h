// SPDX-License-Identifier: Apache-2.0
#pragma once
// How tokens are drawn (kernels/sampling.h has the definition), and what comes out.
#include <cstdint>

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

}  // namespace selvage

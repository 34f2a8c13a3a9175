// SPDX-License-Identifier: Apache-2.0
#include "sweep/draft_attributes.h"

#include "base/digest.h"
#include "tensor/host_copy.h"

namespace selvage {

void describe_drafts(io::Attributes& attributes, std::string const& kind, std::int64_t policy_step,
                     ParameterSet const& policy, SamplerOptions const& sampler, std::int64_t seed) {
    policy.device().synchronize();
    DigestStream digest;
    FloatReader(policy.values(), policy.device()).for_each_piece([&](std::span<float const> values) {
        digest.update(values.data(), values.size_bytes());
    });
    attributes.text["kind"] = kind;
    attributes.text["policy_digest"] = digest.finish().hex();
    attributes.integers["policy_step"] = policy_step;
    attributes.integers["seed"] = seed;
    attributes.numbers["temperature"] = sampler.temperature;
    attributes.numbers["top_p"] = sampler.top_p;
    attributes.integers["top_k"] = sampler.top_k;
}

}  // namespace selvage

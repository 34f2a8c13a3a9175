// SPDX-License-Identifier: Apache-2.0
#include "sweep/draft_attributes.h"

#include "base/digest.h"

namespace selvage {

void describe_drafts(io::Attributes& attributes, std::string const& kind, std::int64_t policy_step,
                     ParameterSet const& policy, SamplerOptions const& sampler, std::int64_t seed) {
    TensorView const values = policy.values();
    auto const floats = std::span(values.as<float>(), static_cast<std::size_t>(values.elements()));
    attributes.text["kind"] = kind;
    attributes.text["policy_digest"] = digest_of(std::as_bytes(floats)).hex();
    attributes.integers["policy_step"] = policy_step;
    attributes.integers["seed"] = seed;
    attributes.numbers["temperature"] = sampler.temperature;
    attributes.numbers["top_p"] = sampler.top_p;
    attributes.integers["top_k"] = sampler.top_k;
}

}  // namespace selvage

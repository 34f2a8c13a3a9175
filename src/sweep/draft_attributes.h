// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>

#include "generate/sampler.h"
#include "io/files.h"

namespace selvage {

// Of all values of a flat vector. Collective over the data axis that it may be cut over.
std::string digest_of(ParameterSet const& parameters, Communicator& data);

// The attributes that say where the drafts of a file came from. kind: "free", "forced", "mixed"; policy: digest_of()
// the parameters.
void describe_drafts(io::Attributes& attributes, std::string const& kind, std::int64_t policy_step,
                     std::string const& policy, SamplerOptions const& sampler, std::int64_t seed);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>

#include "generate/sampler.h"
#include "io/files.h"

namespace selvage {

// The attributes that say where the drafts of a file came from. kind: "free", "forced", "mixed".
void describe_drafts(io::Attributes& attributes, std::string const& kind, std::int64_t policy_step,
                     ParameterSet const& policy, SamplerOptions const& sampler, std::int64_t seed);

}  // namespace selvage

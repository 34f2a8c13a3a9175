// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>

#include "comm/process_grid.h"
#include "generate/sampler.h"
#include "io/files.h"

namespace selvage {

// 32 hexadecimal digits that are the same for the same parameters, however they are cut. Collective over data and
// tensor.
std::string policy_digest(ParameterSet const& parameters, ProcessGrid const& grid);

// The attributes that say where the drafts of a file came from. kind: "free", "forced", "mixed".
void describe_drafts(io::Attributes& attributes, std::string const& kind, std::int64_t policy_step,
                     std::string const& policy, SamplerOptions const& sampler, std::int64_t seed);

}  // namespace selvage

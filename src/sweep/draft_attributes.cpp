// SPDX-License-Identifier: Apache-2.0
#include "sweep/draft_attributes.h"

#include <span>
#include <vector>

#include "base/digest.h"

namespace selvage {
namespace {

Checksum sum_over(Communicator& ranks, Checksum mine) {
    std::vector<Checksum> all(static_cast<std::size_t>(ranks.size()));
    ranks.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
    Checksum sum;
    for (Checksum const& part : all) sum += part;
    return sum;
}

}  // namespace

std::string policy_digest(ParameterSet const& parameters, ProcessGrid const& grid) {
    EvenSplit const split(parameters.flat_size(), grid.size(Axis::data));
    Range const part = parameters.is_whole() ? split.part(grid.coordinate(Axis::data)) : parameters.held();
    Checksum const mine = parameters.checksum(part);
    Checksum const sum = sum_over(grid.axis(Axis::tensor), sum_over(grid.data(), mine));
    return Digest{sum.low, sum.high}.hex();
}

void describe_drafts(io::Attributes& attributes, std::string const& kind, std::int64_t policy_step,
                     std::string const& policy, SamplerOptions const& sampler, std::int64_t seed) {
    attributes.text["kind"] = kind;
    attributes.text["policy_digest"] = policy;
    attributes.integers["policy_step"] = policy_step;
    attributes.integers["seed"] = seed;
    attributes.numbers["temperature"] = sampler.temperature;
    attributes.numbers["top_p"] = sampler.top_p;
    attributes.integers["top_k"] = sampler.top_k;
}

}  // namespace selvage

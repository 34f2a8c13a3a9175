// SPDX-License-Identifier: Apache-2.0
#include "sweep/draft_attributes.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/digest.h"
#include "tensor/host_copy.h"

namespace selvage {

std::string digest_of(ParameterSet const& parameters, Communicator& data) {
    constexpr std::int64_t piece_elements = std::int64_t{1} << 20;
    parameters.device().synchronize();
    FloatReader mine(parameters.values(), parameters.device());
    int const parts = parameters.is_whole() ? 1 : data.size();
    DigestStream digest;
    std::vector<float> piece;
    int owner = 0;
    for (Range const shard : parameters.shards(parts)) {
        bool const here = parts == 1 || owner == data.rank();
        for (std::int64_t first = 0; first < shard.size(); first += piece_elements) {
            Range const elements{first, std::min(shard.size(), first + piece_elements)};
            piece.resize(static_cast<std::size_t>(elements.size()));
            if (here) std::ranges::copy(mine.read(elements), piece.begin());
            if (parts > 1) data.broadcast(std::as_writable_bytes(std::span(piece)), owner);
            digest.update(piece.data(), std::span(piece).size_bytes());
        }
        ++owner;
    }
    return digest.finish().hex();
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

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "comm/process_grid.h"
#include "sweep/options.h"

namespace selvage {

// Bytes per rank, by what they are for; the larger of the two sweeps counts.
struct MemoryEstimate {
    std::vector<std::pair<std::string, double>> parts;
    double total() const;
};
MemoryEstimate estimate_memory(JobOptions const& options, ModelConfig const& model, std::int64_t corpus_tokens,
                               std::int64_t data_ranks);

// Bytes that the run's files will take.
double estimate_disk(JobOptions const& options, ModelConfig const& model);

// Says both; Error (bad_data) with the figures where the memory of this node cannot hold its ranks. Collective.
void check_resources(JobOptions const& options, ModelConfig const& model, std::int64_t corpus_tokens,
                     ProcessGrid const& grid, Device const& device);

}  // namespace selvage

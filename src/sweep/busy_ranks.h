// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace selvage {

// How much of a sweep each rank worked, 0..1; the rest it waited for others.
struct BusyRanks {
    std::vector<double> by_rank;
    double mean() const;
    // "98.0%, 100.0%", or of many ranks the least and the mean.
    std::string text() const;
};

// Collective. Shares of `seconds`; without it of the time that the slowest rank worked.
BusyRanks busy_ranks(Communicator& ranks, double busy_seconds, double seconds = 0);

}  // namespace selvage

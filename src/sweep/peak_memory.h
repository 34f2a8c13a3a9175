// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "comm/communicator.h"
#include "device/arena.h"
#include "io/run_log.h"

namespace selvage {

// The most that the blocks of each name took at a time, on the rank where that was most; largest first. Collective;
// rank 0 gets the rows.
std::vector<io::MemoryRow> peak_memory(Communicator& ranks, Arena const& arena);

}  // namespace selvage

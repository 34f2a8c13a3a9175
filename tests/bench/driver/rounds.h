// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a driver is told to measure: it stays alive and computes one round for every line of its standard input, so that
// the caller can let several of them take turns. It answers in JSON, one line each.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"

namespace selvage::bench {

// Names and numbers of one round; "seconds" and "tokens" are what a rate is made of.
using Numbers = std::vector<std::pair<std::string, double>>;

// Collective over `world`: says that it is ready (with the numbers in `about`), then answers until the input of rank 0
// ends. Ranks that wait sleep, so that they do not take a core from the others that are measured.
void serve_rounds(Communicator& world, Numbers const& about, std::function<Numbers()> const& round);

// Seconds of `work` on the slowest rank. Collective.
double timed(Communicator& world, std::function<void()> const& work);

}  // namespace selvage::bench

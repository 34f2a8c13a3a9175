// SPDX-License-Identifier: Apache-2.0
#include "sweep/busy_ranks.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <span>

namespace selvage {

double BusyRanks::mean() const {
    return std::accumulate(by_rank.begin(), by_rank.end(), 0.0) / static_cast<double>(by_rank.size());
}

std::string BusyRanks::text() const {
    constexpr std::size_t most_listed = 8;
    if (by_rank.size() > most_listed)
        return fmt::format("{:.1f}% at least, {:.1f}% in the mean",
                           100 * *std::min_element(by_rank.begin(), by_rank.end()), 100 * mean());
    std::string text;
    for (double const share : by_rank) text += fmt::format("{}{:.1f}%", text.empty() ? "" : ", ", 100 * share);
    return text;
}

BusyRanks busy_ranks(Communicator& ranks, double busy_seconds, double seconds) {
    BusyRanks busy{std::vector<double>(static_cast<std::size_t>(ranks.size()))};
    ranks.all_gather(std::as_bytes(std::span(&busy_seconds, 1)), std::as_writable_bytes(std::span(busy.by_rank)));
    double const slowest = *std::max_element(busy.by_rank.begin(), busy.by_rank.end());
    double const whole = std::max({1e-9, seconds, slowest});
    for (double& share : busy.by_rank) share /= whole;
    return busy;
}

}  // namespace selvage

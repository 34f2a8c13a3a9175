// SPDX-License-Identifier: Apache-2.0
#pragma once
// When a run will be finished, from what its sweeps took so far.
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "sweep/options.h"

namespace selvage {

class Forecast {
  public:
    // `options` must outlive the forecast.
    explicit Forecast(JobOptions const& options) : options_(options) {}

    // A whole phase of a round took so many seconds.
    void took(io::Phase phase, std::int64_t round, double seconds);
    // Seconds of all that follows `phase` of `round`; nothing where it has a kind of sweep that was not seen yet.
    std::optional<double> after(io::Phase phase, std::int64_t round) const;
    // Whether the round ends with an evaluation.
    bool evaluates_after(std::int64_t round) const;

  private:
    struct Mean {
        double seconds = 0;
        double count = 0;
    };
    std::optional<double> estimate(io::Phase phase, weave::WeaveMethod method) const;
    std::optional<double> round_from(io::Phase first, std::int64_t round) const;

    JobOptions const& options_;
    std::map<std::pair<io::Phase, weave::WeaveMethod>, Mean> seen_;
};

// The local time so many seconds from now, as the log writes it ("2025-01-31T12:00:00").
std::string local_time_in(double seconds);

}  // namespace selvage

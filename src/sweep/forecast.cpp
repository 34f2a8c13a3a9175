// SPDX-License-Identifier: Apache-2.0
#include "sweep/forecast.h"

#include <ctime>

namespace selvage {

void Forecast::took(io::Phase phase, std::int64_t round, double seconds) {
    if (phase == io::Phase::evaluate_start) phase = io::Phase::evaluate;
    Mean& mean = seen_[{phase, options_.weave.method_of(round)}];
    mean.seconds += seconds;
    mean.count += 1;
}

bool Forecast::evaluates_after(std::int64_t round) const {
    std::int64_t const every = options_.evaluate.every_rounds;
    return round == options_.run.rounds || (every > 0 && round % every == 0);
}

// By the rounds of the same method; where there was none, by those of all methods. Only generation needs a method that
// generates.
std::optional<double> Forecast::estimate(io::Phase phase, weave::WeaveMethod method) const {
    if (auto const same = seen_.find({phase, method}); same != seen_.end())
        return same->second.seconds / same->second.count;
    Mean all;
    for (auto const& [key, mean] : seen_) {
        if (key.first != phase) continue;
        if (phase == io::Phase::generate && key.second == weave::WeaveMethod::none) continue;
        all.seconds += mean.seconds;
        all.count += mean.count;
    }
    if (phase == io::Phase::generate && method == weave::WeaveMethod::none) return 0;
    if (all.count == 0) return std::nullopt;
    return all.seconds / all.count;
}

// What is left of a round from the phase `first` on.
std::optional<double> Forecast::round_from(io::Phase first, std::int64_t round) const {
    double sum = 0;
    for (auto const phase : {io::Phase::generate, io::Phase::train, io::Phase::evaluate}) {
        if (phase < first || (phase == io::Phase::evaluate && !evaluates_after(round))) continue;
        auto const seconds = estimate(phase, options_.weave.method_of(round));
        if (!seconds) return std::nullopt;
        sum += *seconds;
    }
    return sum;
}

std::optional<double> Forecast::after(io::Phase phase, std::int64_t round) const {
    // evaluate_start stands before generate, so that all of the first round follows it.
    auto sum = round_from(static_cast<io::Phase>(static_cast<int>(phase) + 1), round);
    for (std::int64_t next = round + 1; sum && next <= options_.run.rounds; ++next) {
        auto const seconds = round_from(io::Phase::generate, next);
        if (!seconds) return std::nullopt;
        *sum += *seconds;
    }
    return sum;
}

std::string local_time_in(double seconds) {
    std::time_t const then = std::time(nullptr) + static_cast<std::time_t>(seconds);
    std::tm parts{};
    localtime_r(&then, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    return text;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "evaluate/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/philox.h"

namespace selvage {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double ratio(double numerator, double denominator) { return denominator > 0 ? numerator / denominator : nan; }

// Series side by side, [example][numerators, denominators], so that one walk over the examples sums them all.
std::vector<double> interleave(std::span<RatioSeries const> series, std::size_t examples) {
    std::size_t const width = 2 * series.size();
    std::vector<double> table(examples * width);
    for (std::size_t s = 0; s < series.size(); ++s) {
        SELVAGE_CHECK(series[s].numerator.size() == examples && series[s].denominator.size() == examples,
                      "series {} has {} and {} of {} examples", s, series[s].numerator.size(),
                      series[s].denominator.size(), examples);
        for (std::size_t i = 0; i < examples; ++i) {
            table[i * width + s] = series[s].numerator[i];
            table[i * width + series.size() + s] = series[s].denominator[i];
        }
    }
    return table;
}

void weighted_sums(std::span<double> sums, std::span<double const> table, std::span<std::int32_t const> times) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::size_t i = 0; i < times.size(); ++i) {
        if (times[i] == 0) continue;
        double const weight = times[i];
        double const* const row = table.data() + i * sums.size();
        for (std::size_t c = 0; c < sums.size(); ++c) sums[c] += weight * row[c];
    }
}

}  // namespace

double quantile(std::span<double const> ascending, double share) {
    if (ascending.empty()) return nan;
    double const place = share * static_cast<double>(ascending.size() - 1);
    auto const below = static_cast<std::size_t>(place);
    auto const above = std::min(below + 1, ascending.size() - 1);
    double const rest = place - static_cast<double>(below);
    if (rest == 0 || ascending[below] == ascending[above]) return ascending[below];
    return ascending[below] + rest * (ascending[above] - ascending[below]);
}

std::vector<Estimate> bootstrap_ratios(std::span<RatioSeries const> series, std::int64_t examples, std::uint64_t seed,
                                       std::int64_t resamples) {
    auto const n = static_cast<std::size_t>(examples);
    std::vector<double> const table = interleave(series, n);
    std::vector<double> sums(2 * series.size());
    std::vector<std::int32_t> times(n, 1);
    std::vector<Estimate> out(series.size());
    weighted_sums(sums, table, times);
    for (std::size_t s = 0; s < series.size(); ++s) out[s].value = ratio(sums[s], sums[series.size() + s]);

    std::vector<std::vector<double>> values(series.size());
    Random const random(seed, Purpose::bootstrap);
    for (std::int64_t r = 0; r < resamples && n > 0; ++r) {
        std::fill(times.begin(), times.end(), 0);
        for (std::size_t k = 0; k < n; ++k) {
            double const u = random.uniform({0, static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(r)});
            ++times[static_cast<std::size_t>(u * static_cast<double>(n))];
        }
        weighted_sums(sums, table, times);
        for (std::size_t s = 0; s < series.size(); ++s) {
            double const value = ratio(sums[s], sums[series.size() + s]);
            if (!std::isnan(value)) values[s].push_back(value);
        }
    }
    for (std::size_t s = 0; s < series.size(); ++s) {
        std::sort(values[s].begin(), values[s].end());
        out[s].low = quantile(values[s], 0.025);
        out[s].high = quantile(values[s], 0.975);
    }
    return out;
}

}  // namespace selvage

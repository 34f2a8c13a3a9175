// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bootstrap over examples (Efron 1979): 95% percentile intervals of ratios of sums. All statistics of one call see the
// same resamples, so a difference given as per-example differences is paired.
#include <cstdint>
#include <span>
#include <vector>

namespace selvage {

// sum(numerator) / sum(denominator) over examples; an example that does not count has both 0. A mean over examples has
// denominator 1.
struct RatioSeries {
    std::vector<double> numerator;    // one per example
    std::vector<double> denominator;  // one per example, not negative
};

struct Estimate {
    double value = 0;
    double low = 0;
    double high = 0;
};

constexpr std::int64_t bootstrap_resamples = 2000;

// Sums run in the order of the examples, in fp64. The k-th example of resample r is floor(u n), u drawn at
// (position r, example k) with Purpose::bootstrap: a function of (seed, n) alone. Interval: the 2.5% and 97.5%
// quantiles (linear interpolation) of the resamples with a positive denominator. All NaN where nothing counts.
std::vector<Estimate> bootstrap_ratios(std::span<RatioSeries const> series, std::int64_t examples, std::uint64_t seed,
                                       std::int64_t resamples = bootstrap_resamples);

// Quantile of ascending values, linear between neighbours (Hyndman and Fan 1996, type 7). NaN of nothing.
double quantile(std::span<double const> ascending, double share);

}  // namespace selvage

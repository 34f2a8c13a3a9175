// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling_cuts.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace selvage::kernels {
namespace {

// Weights go up to 2^40 and the vocabulary to 2^22, so that totals fit 62 bits; their products with a 64-bit fraction
// need 128 (an extension that GCC and Clang both have).
__extension__ using Wide = unsigned __int128;

constexpr float above_all = 0x1.000002p40F;

float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

}  // namespace

float next_above(float weight) { return float_of(bits_of(weight) + 1); }

float rounded_down(std::int64_t value) {
    auto const rounded = static_cast<float>(value);
    return static_cast<std::int64_t>(rounded) > value ? float_of(bits_of(rounded) - 1) : rounded;
}

std::int64_t product_high(std::uint64_t fraction, std::int64_t total) {
    return static_cast<std::int64_t>(Wide{fraction} * static_cast<std::uint64_t>(total) >> 64);
}

// Exact: a double below 1 is a whole number of 2^-64 but for bits that are cut off below it.
std::int64_t share_of(double top_p, std::int64_t total) {
    auto const fraction = static_cast<std::uint64_t>(std::ldexp(std::max(top_p, 0.0), 64));
    bool const exact = fraction * static_cast<std::uint64_t>(total) == 0;  // the low half of the product
    return std::max<std::int64_t>(1, product_high(fraction, total) + (exact ? 0 : 1));
}

// All weights below the average of what may go sum up to less than may go.
float bound_of_share(Cut const& cut, std::int64_t need, std::int64_t ids) {
    return std::max(cut.last.weight, rounded_down((cut.total - need) / ids + 1));
}

float bound_of_largest(std::span<float> maxima, std::int64_t count) {
    if (count > static_cast<std::int64_t>(maxima.size())) return least_weight;
    auto const place = maxima.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(maxima.begin(), place, maxima.end(), std::greater<>());
    return std::max(*place, least_weight);
}

float log_share(std::int64_t weight, std::int64_t total) {
    return static_cast<float>(std::log(static_cast<double>(weight) / static_cast<double>(total)));
}

Candidate draw_from(std::span<Candidate const> candidates, Cut const& cut, std::int64_t target) {
    for (std::size_t i = 0;; ++i) {
        if (!cut.keeps(candidates[i])) continue;
        target -= candidates[i].whole();
        if (target < 0) return candidates[i];
    }
}

// Halves the range by selection instead of sorting it.
Cut cut_candidates(std::span<Candidate> candidates, std::int64_t need, std::int64_t Measure::*measure) {
    Cut cut{{}, 0, true};
    while (candidates.size() > 1) {
        std::size_t const half = candidates.size() / 2;
        std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(half), candidates.end());
        Measure first{static_cast<std::int64_t>(half), 0};
        for (Candidate const& candidate : candidates.first(half)) first.sum += candidate.whole();
        if (first.*measure >= need) {
            candidates = candidates.first(half);
        } else {
            need -= first.*measure;
            cut.total += first.sum;
            candidates = candidates.subspan(half);
        }
    }
    cut.last = candidates.front();
    cut.total += cut.last.whole();
    return cut;
}

CutSearch::CutSearch(float low, Measure from_low, std::int64_t need, std::int64_t Measure::*measure)
    : low_(low), high_(above_all), from_low_(from_low), need_(need), measure_(measure) {}

bool CutSearch::done() const { return in_range() <= few || bits_of(high_) - bits_of(low_) <= 1; }

float CutSearch::middle() const { return float_of(bits_of(low_) + (bits_of(high_) - bits_of(low_)) / 2); }

bool CutSearch::take(Measure from_middle) {
    bool const upper = from_middle.*measure_ >= need_;
    (upper ? low_ : high_) = middle();
    (upper ? from_low_ : from_high_) = from_middle;
    return upper;
}

Cut CutSearch::cut(std::span<Candidate> candidates) const {
    Cut cut = cut_candidates(candidates, need_ - from_high_.*measure_, measure_);
    cut.total += from_high_.sum;
    cut.listed = from_high_.count == 0;
    return cut;
}

std::int64_t CutSearch::kept_of_equal() const {
    Measure const one{1, static_cast<std::int64_t>(low_)};
    return (need_ - from_high_.*measure_ + one.*measure_ - 1) / one.*measure_;
}

Cut CutSearch::cut_of_equal() const {
    Cut cut;
    cut.last.weight = low_;
    cut.total = from_high_.sum + kept_of_equal() * static_cast<std::int64_t>(low_);
    return cut;
}

}  // namespace selvage::kernels

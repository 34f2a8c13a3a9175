// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sampling by the plain definition: whole-number weights of the whole vocabulary in a table, walked from end to end.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "base/error.h"
#include "generate/sampler.h"
#include "kernels/cpu/table.h"

namespace selvage::test {

// Weights go up to 2^40 and the vocabulary to 2^22, so that totals fit 62 bits; their products with a 64-bit fraction
// need 128 (an extension that GCC and Clang both have).
__extension__ using Wide = unsigned __int128;

// A place in the order of the cuts: by weight, largest first, ties by id, lowest first.
struct Entry {
    std::int64_t weight = 0;
    Token id = 0;
    bool operator<(Entry const& other) const { return weight != other.weight ? weight > other.weight : id < other.id; }
};

// Everything up to and with `last` is kept.
struct Cut {
    Entry last{-1, std::numeric_limits<Token>::max()};
    bool keeps(std::int64_t weight, Token id) const {
        return weight > last.weight || (weight == last.weight && id <= last.id);
    }
};

// Levels of about 3% width, ascending with the weight: its highest bit and the five below it.
inline constexpr std::size_t level_count = 1888;
inline std::size_t level_of(std::int64_t weight) {
    auto const value = static_cast<std::uint64_t>(weight);
    if (value < 64) return value;
    auto const shift = static_cast<std::size_t>(std::bit_width(value)) - 6;
    return shift * 32 + (value >> shift);
}

template <class Visit>
void for_each_kept(std::span<std::int64_t const> weights, Cut const& cut, Visit&& visit) {
    auto const size = static_cast<Token>(weights.size());
    for (Token id = 0; id < size; ++id) {
        std::int64_t const weight = weights[static_cast<std::size_t>(id)];
        if (cut.keeps(weight, id)) visit(Entry{weight, id});
    }
}

// Cuts `entries` after the shortest prefix (in their order) whose measures sum to `need` at least; all of them together
// must. Halves the range by selection instead of sorting it.
template <class Measure>
Cut cut_entries(std::span<Entry> entries, std::int64_t need, Measure&& measure) {
    while (entries.size() > 1) {
        std::size_t const half = entries.size() / 2;
        std::nth_element(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(half), entries.end());
        std::int64_t sum = 0;
        for (Entry const& entry : entries.first(half)) sum += measure(entry);
        if (sum >= need) {
            entries = entries.first(half);
        } else {
            need -= sum;
            entries = entries.subspan(half);
        }
    }
    return {entries.front()};
}

// The same for all kept of a vocabulary: sums by level first, so that only the entries of one level need an order.
template <class Measure>
Cut find_cut(std::span<std::int64_t const> weights, Cut const& within, std::int64_t need, Measure&& measure) {
    std::array<std::int64_t, level_count> sums{};
    for_each_kept(weights, within, [&](Entry entry) { sums[level_of(entry.weight)] += measure(entry); });
    std::size_t level = sums.size() - 1;
    while (level > 0 && sums[level] < need) need -= sums[level--];
    static thread_local std::vector<Entry> entries;
    entries.clear();
    for_each_kept(weights, within, [&](Entry entry) {
        if (level_of(entry.weight) == level) entries.push_back(entry);
    });
    return entries.empty() ? within : cut_entries(entries, need, measure);
}

inline std::int64_t total_of(std::span<std::int64_t const> weights, Cut const& cut) {
    std::int64_t total = 0;
    for_each_kept(weights, cut, [&](Entry entry) { total += entry.weight; });
    return total;
}

// ceil(top_p * total), exactly: a double below 1 is a whole number of 2^-64 but for bits that are cut off below it.
inline std::int64_t share_of(double top_p, std::int64_t total) {
    auto const fraction = static_cast<std::uint64_t>(std::ldexp(std::max(top_p, 0.0), 64));
    Wide const product = Wide{fraction} * static_cast<std::uint64_t>(total);
    auto const whole = static_cast<std::int64_t>(product >> 64);
    return std::max<std::int64_t>(1, whole + (static_cast<std::uint64_t>(product) != 0 ? 1 : 0));
}

inline SampledToken largest(std::span<std::int64_t const> weights) {
    return {static_cast<Token>(std::max_element(weights.begin(), weights.end()) - weights.begin()), 0.0F};
}

// floor(exp((logit - max) / temperature) * 2^40), max over the first `ids`; behind them 0.
inline std::vector<std::int64_t> whole_weights(std::span<float const> logits, std::size_t ids, float temperature) {
    float const max = *std::max_element(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(ids));
    std::vector<float> powers(ids);
    for (std::size_t i = 0; i < ids; ++i) powers[i] = (logits[i] - max) / temperature;
    kernels::kernel_table("portable")->row_exp(powers.data(), powers.data(), static_cast<std::int64_t>(ids));
    std::vector<std::int64_t> weights(logits.size());
    for (std::size_t i = 0; i < ids; ++i) weights[i] = static_cast<std::int64_t>(powers[i] * 0x1p40F);
    return weights;
}

// top-k first, then top-p of what is left; order by weight, ties by id. Walks the vocabulary in id order.
inline SampledToken sample_token(std::span<std::int64_t const> weights, SamplerOptions const& options,
                                 std::uint64_t bits) {
    SELVAGE_CHECK(!weights.empty(), "sampling from an empty vocabulary");
    if (options.temperature == 0) return largest(weights);
    Cut cut;
    if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(weights.size()))
        cut = find_cut(weights, cut, options.top_k, [](Entry const&) { return std::int64_t{1}; });
    std::int64_t total = total_of(weights, cut);
    if (options.top_p < 1 && total > 0) {
        cut = find_cut(weights, cut, share_of(options.top_p, total), [](Entry const& entry) { return entry.weight; });
        total = total_of(weights, cut);
    }
    SELVAGE_CHECK(total > 0, "no token has any weight");
    auto const target = static_cast<std::int64_t>(Wide{bits} * static_cast<std::uint64_t>(total) >> 64);
    std::int64_t sum = 0;
    for (std::size_t id = 0;; ++id) {
        std::int64_t const weight = weights[id];
        if (!cut.keeps(weight, static_cast<Token>(id))) continue;
        sum += weight;
        if (sum <= target) continue;
        double const probability = static_cast<double>(weight) / static_cast<double>(total);
        return {static_cast<Token>(id), static_cast<float>(std::log(probability))};
    }
}

}  // namespace selvage::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The whole-number arithmetic of sampling (kernels/sampling.h): shares, and where a cut ends. On the host.
#include <cstdint>
#include <limits>
#include <span>

namespace selvage::kernels {

constexpr float least_weight = 1.0F;  // but for zeros, which are never drawn

// An id with its weight: a place in the order of the cuts, by weight, largest first, ties by id, lowest first.
struct Candidate {
    float weight = 0;
    std::int32_t id = 0;
    bool operator<(Candidate const& other) const {
        return weight != other.weight ? weight > other.weight : id < other.id;
    }
    std::int64_t whole() const { return static_cast<std::int64_t>(weight); }
};

// Everything up to and with `last` is kept; `total` is the sum of its weights. Listed: all that is kept is among the
// candidates that the cut was found from.
struct Cut {
    Candidate last{least_weight, std::numeric_limits<std::int32_t>::max()};
    std::int64_t total = 0;
    bool listed = false;
    bool keeps(Candidate const& candidate) const { return !(last < candidate); }
};

// How many weights, and their sum.
struct Measure {
    std::int64_t count = 0;
    std::int64_t sum = 0;
    Measure& operator+=(Measure const& other) {
        count += other.count;
        sum += other.sum;
        return *this;
    }
};

// The next larger float.
float next_above(float weight);
// The largest float that is not above a positive whole number.
float rounded_down(std::int64_t value);
// floor(fraction total / 2^64).
std::int64_t product_high(std::uint64_t fraction, std::int64_t total);
// ceil(top_p total), and at least 1.
std::int64_t share_of(double top_p, std::int64_t total);
// A weight that the last one of the shortest prefix whose sum is `need` at least does not lie below, of `ids` ids cut
// by `cut`.
float bound_of_share(Cut const& cut, std::int64_t need, std::int64_t ids);
// What a token's log_probability is.
float log_share(std::int64_t weight, std::int64_t total);
// The first kept candidate whose cumulative weight exceeds `target`; candidates by id, the kept ones sum to more.
Candidate draw_from(std::span<Candidate const> candidates, Cut const& cut, std::int64_t target);
// The shortest prefix (in the order of the cuts) of the candidates whose measure is `need` at least. Reorders them.
Cut cut_candidates(std::span<Candidate> candidates, std::int64_t need, std::int64_t Measure::*measure);

// Looks for the shortest prefix of all weights whose measure is `need` at least: halves the range of weights in which
// it ends, until few are left in the range, or all that are left are equal.
class CutSearch {
  public:
    static constexpr std::int64_t few = 256;
    // The prefix is known to end among the weights from `low` up, which measure from_low.
    CutSearch(float low, Measure from_low, std::int64_t need, std::int64_t Measure::*measure);

    float low() const { return low_; }
    float high() const { return high_; }  // not in the range itself
    std::int64_t in_range() const { return from_low_.count - from_high_.count; }
    bool done() const;
    float middle() const;
    // The measure of all weights from middle() up. True: the range is now its upper half, from the middle on.
    bool take(Measure from_middle);

    // From all candidates of the range, which it reorders.
    Cut cut(std::span<Candidate> candidates) const;
    // Where all weights of the range are equal: how many of them are kept, those of the lowest ids; and the cut, but
    // for the id of its last.
    std::int64_t kept_of_equal() const;
    Cut cut_of_equal() const;

  private:
    float low_, high_;
    Measure from_low_, from_high_;
    std::int64_t need_;
    using Field = std::int64_t Measure::*;  // by name: nvcc writes a type out with parentheses that warn
    Field measure_;
};

}  // namespace selvage::kernels

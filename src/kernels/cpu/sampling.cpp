// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"
#include "kernels/softmax.h"

namespace selvage::kernels::cpu {
namespace {

// Weights go up to 2^40 and the vocabulary to 2^22, so that totals fit 62 bits; their products with a 64-bit fraction
// need 128 (an extension that GCC and Clang both have).
__extension__ using Wide = unsigned __int128;

constexpr float least_weight = 1.0F;  // but for zeros, which are never drawn
constexpr float above_all = 0x1.000002p40F;
constexpr std::int64_t few = 256;  // entries that are ordered one by one

// A place in the order of the cuts: by weight, largest first, ties by id, lowest first.
struct Entry {
    float weight = 0;
    std::int32_t id = 0;
    bool operator<(Entry const& other) const { return weight != other.weight ? weight > other.weight : id < other.id; }
    std::int64_t whole() const { return static_cast<std::int64_t>(weight); }
};

// Everything up to and with `last` is kept; `total` is the sum of its weights. Listed: all that is kept is in
// Buffers::ids.
struct Cut {
    Entry last;
    std::int64_t total = 0;
    bool listed = false;
    bool keeps(Entry const& entry) const { return !(last < entry); }
};

// How many weights, and their sum.
struct Measure {
    std::int64_t count = 0;
    std::int64_t sum = 0;
};

float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }
float next_above(float weight) { return float_of(bits_of(weight) + 1); }

// The largest float that is not above a positive whole number.
float rounded_down(std::int64_t value) {
    auto const rounded = static_cast<float>(value);
    return static_cast<std::int64_t>(rounded) > value ? float_of(bits_of(rounded) - 1) : rounded;
}

std::int64_t product_high(std::uint64_t fraction, std::int64_t total) {
    return static_cast<std::int64_t>(Wide{fraction} * static_cast<std::uint64_t>(total) >> 64);
}

// ceil(top_p * total), exactly: a double below 1 is a whole number of 2^-64 but for bits that are cut off below it.
std::int64_t share_of(double top_p, std::int64_t total) {
    auto const fraction = static_cast<std::uint64_t>(std::ldexp(std::max(top_p, 0.0), 64));
    bool const exact = fraction * static_cast<std::uint64_t>(total) == 0;  // the low half of the product
    return std::max<std::int64_t>(1, product_high(fraction, total) + (exact ? 0 : 1));
}

// One thread's buffers, which keep their memory.
struct Buffers {
    std::vector<std::int64_t> totals;  // of blocks
    std::vector<float> weights, lane_maxima;
    std::vector<std::int32_t> ids;
    std::vector<Entry> entries;
};

class Row {
  public:
    Row(float const* logits, float max, std::int64_t ids, Sampling const& options, Buffers& buffers)
        : ids_(ids),
          blocks_((ids + vocabulary_block - 1) / vocabulary_block),
          options_(options),
          buffers_(buffers),
          weights_{logits, ids, max, static_cast<float>(options.temperature), nullptr, nullptr, nullptr} {}

    // False: no token has any weight.
    bool draw(std::int32_t& token, float& log_probability) {
        buffers_.totals.resize(static_cast<std::size_t>(blocks_));
        weights_.block_totals = buffers_.totals.data();
        bool const whole = options_.top_k <= 0 && options_.top_p >= 1;
        if (!whole) keep_weights();
        kernel_table().row_weights(weights_);
        Cut cut{{least_weight, std::numeric_limits<std::int32_t>::max()}};
        for (std::int64_t const total : buffers_.totals) cut.total += total;
        if (cut.total <= 0) return false;
        if (!whole) cut = apply_cuts(cut);
        std::int64_t const total = cut.total;
        std::int64_t target = product_high(options_.bits, total);
        Entry const drawn = cut.listed ? draw_listed(cut, target) : draw_blockwise(cut, target);
        token = drawn.id;
        log_probability = static_cast<float>(std::log(static_cast<double>(drawn.whole()) / static_cast<double>(total)));
        return true;
    }

  private:
    std::int64_t first_of(std::int64_t block) const { return block * vocabulary_block; }
    std::int64_t end_of(std::int64_t block) const { return std::min(ids_, (block + 1) * vocabulary_block); }
    Entry entry(std::int64_t id) const {
        return {buffers_.weights[static_cast<std::size_t>(id)], static_cast<std::int32_t>(id)};
    }

    void keep_weights() {
        auto const size = static_cast<std::size_t>(blocks_ * vocabulary_block);
        buffers_.weights.resize(size);
        buffers_.ids.resize(size);
        buffers_.lane_maxima.resize(static_cast<std::size_t>(16 * blocks_));
        weights_.weights = buffers_.weights.data();
        weights_.lane_maxima = buffers_.lane_maxima.data();
    }

    Measure at_least(float bound) const {
        Measure measure;
        measure.sum = kernel_table().sum_at_least(weights_.weights, bound, ids_, &measure.count);
        return measure;
    }

    Cut apply_cuts(Cut cut) {
        if (options_.top_k > 0 && options_.top_k < ids_) {
            float const low = bound_of_largest(options_.top_k);
            Measure const candidates = at_least(low);
            if (candidates.count > options_.top_k) {
                cut = find_cut(low, candidates, options_.top_k, &Measure::count);
            } else if (low > least_weight) {
                cut = {{low, cut.last.id}, candidates.sum, false};  // these are they
            }
        }
        if (options_.top_p < 1) {
            // All weights below the average of what may go sum up to less than may go.
            std::int64_t const need = share_of(options_.top_p, cut.total);
            float const low = std::max(cut.last.weight, rounded_down((cut.total - need) / ids_ + 1));
            cut = find_cut(low, at_least(low), need, &Measure::sum);
        }
        return cut;
    }

    // A weight that at least `count` tokens reach: lane maxima are weights of different tokens.
    float bound_of_largest(std::int64_t count) {
        std::vector<float>& maxima = buffers_.lane_maxima;
        if (count > static_cast<std::int64_t>(maxima.size())) return least_weight;
        auto const place = maxima.begin() + static_cast<std::ptrdiff_t>(count - 1);
        std::nth_element(maxima.begin(), place, maxima.end(), std::greater<>());
        return std::max(*place, least_weight);
    }

    // The shortest prefix whose measure is `need` at least, known to end among the weights from `low` up. The range of
    // weights in which it ends is halved until few entries are left.
    Cut find_cut(float low, Measure from_low, std::int64_t need, std::int64_t Measure::*measure) {
        float high = above_all;
        Measure from_high;
        while (from_low.count - from_high.count > few && bits_of(high) - bits_of(low) > 1) {
            float const middle = float_of(bits_of(low) + (bits_of(high) - bits_of(low)) / 2);
            Measure const from_middle = at_least(middle);
            if (from_middle.*measure >= need) {
                low = middle;
                from_low = from_middle;
            } else {
                high = middle;
                from_high = from_middle;
            }
        }
        std::vector<std::int32_t>& ids = buffers_.ids;
        std::int64_t const count = kernel_table().select_between(ids.data(), weights_.weights, low, high, ids_);
        buffers_.entries.clear();
        for (std::int64_t i = 0; i < count; ++i) buffers_.entries.push_back(entry(ids[static_cast<std::size_t>(i)]));
        Cut cut = cut_entries(need - from_high.*measure, measure == &Measure::count, from_high.sum);
        cut.listed = from_high.count == 0;
        return cut;
    }

    // Cuts the entries, behind others of weight `before`. Halves the range by selection instead of sorting it.
    Cut cut_entries(std::int64_t need, bool counted, std::int64_t before) {
        std::span<Entry> entries = buffers_.entries;
        Cut cut{{}, before, false};
        while (entries.size() > 1) {
            std::size_t const half = entries.size() / 2;
            std::nth_element(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(half), entries.end());
            std::int64_t sum = 0;
            for (Entry const& entry : entries.first(half)) sum += entry.whole();
            std::int64_t const reached = counted ? static_cast<std::int64_t>(half) : sum;
            if (reached >= need) {
                entries = entries.first(half);
            } else {
                need -= reached;
                cut.total += sum;
                entries = entries.subspan(half);
            }
        }
        cut.last = entries.front();
        cut.total += cut.last.whole();
        return cut;
    }

    std::int64_t kept_of(std::int64_t block, Cut const& cut) const {
        std::int64_t const first = first_of(block), end = end_of(block);
        std::int64_t sum = 0;
        if (first <= cut.last.id && cut.last.id < end - 1) {
            for (std::int64_t id = first; id < end; ++id)
                if (Entry const e = entry(id); cut.keeps(e)) sum += e.whole();
            return sum;
        }
        // Of equal weights all are kept up to the last one's id, and none behind.
        float const bound = first > cut.last.id ? next_above(cut.last.weight) : cut.last.weight;
        return kernel_table().sum_at_least(weights_.weights + first, bound, end - first, &sum);
    }

    // What draws is the first id whose cumulative weight exceeds `target`; here among the listed ids, all that are
    // kept.
    Entry draw_listed(Cut const& cut, std::int64_t target) const {
        for (std::size_t i = 0;; ++i) {
            Entry const drawn = entry(buffers_.ids[i]);
            if (!cut.keeps(drawn)) continue;
            target -= drawn.whole();
            if (target < 0) return drawn;
        }
    }

    Entry draw_blockwise(Cut const& cut, std::int64_t target) const {
        for (std::int64_t block = 0;; ++block) {
            std::int64_t const kept =
                weights_.weights == nullptr ? buffers_.totals[static_cast<std::size_t>(block)] : kept_of(block, cut);
            if (target < kept) return draw_in(block, cut, target);
            target -= kept;
        }
    }

    Entry draw_in(std::int64_t block, Cut const& cut, std::int64_t target) const {
        std::int64_t const first = first_of(block);
        float block_weights[vocabulary_block];
        float const* weights = weights_.weights + first;
        if (weights_.weights == nullptr) {
            WeightsOfRow const again{weights_.logits + first,
                                     end_of(block) - first,
                                     weights_.max,
                                     weights_.temperature,
                                     nullptr,
                                     block_weights,
                                     nullptr};
            kernel_table().row_weights(again);
            weights = block_weights;
        }
        for (std::int64_t i = 0;; ++i) {
            Entry const drawn{weights[i], static_cast<std::int32_t>(first + i)};
            if (!cut.keeps(drawn)) continue;
            target -= drawn.whole();
            if (target < 0) return drawn;
        }
    }

    std::int64_t ids_;
    std::int64_t blocks_;
    Sampling const& options_;
    Buffers& buffers_;
    WeightsOfRow weights_;
};

}  // namespace

void sample(TensorView tokens, TensorView log_probability, TensorView log_sum_exp, TensorView logits, std::int64_t ids,
            std::span<Sampling const> rows, Stream&) {
    std::int64_t const vocabulary = logits.dim(1);
    SELVAGE_CHECK(logits.dim(0) == static_cast<std::int64_t>(rows.size()) && tokens.elements() == logits.dim(0) &&
                      log_probability.elements() == logits.dim(0),
                  "{} rows of logits, {} draws, {} tokens", logits.dim(0), rows.size(), tokens.elements());
    SELVAGE_CHECK(0 < ids && ids <= vocabulary && vocabulary <= (std::int64_t{1} << 22), "{} ids of a vocabulary of {}",
                  ids, vocabulary);
    KernelTable const& table = kernel_table();
    auto* const token = tokens.as<std::int32_t>();
    auto* const probability = log_probability.as<float>();
    float* const sums = log_sum_exp.empty() ? nullptr : log_sum_exp.as<float>();
    auto const draw = [&](std::int64_t row, Buffers& buffers) {
        float const* const x = logits.as<float>() + row * vocabulary;
        Sampling const& options = rows[static_cast<std::size_t>(row)];
        token[row] = 0;
        probability[row] = 0;
        float max = 0;
        if (sums != nullptr) {
            sums[row] = table.row_log_sum_exp_max(x, vocabulary, ids, &max);
            if (!std::isfinite(sums[row])) return;
        }
        if (static_cast<float>(options.temperature) == 0) {
            token[row] = static_cast<std::int32_t>(table.row_argmax(x, ids));
            return;
        }
        if (sums == nullptr) max = table.row_max(x, ids);
        if (!std::isfinite(max) || !Row(x, max, ids, options, buffers).draw(token[row], probability[row]))
            token[row] = -1;
    };
    parallel_for(logits.dim(0), 1, 16 * logits.elements(), [&](std::int64_t begin, std::int64_t end) {
        thread_local Buffers buffers;
        for (std::int64_t row = begin; row < end; ++row) draw(row, buffers);
    });
    for (std::int64_t row = 0; row < logits.dim(0); ++row) SELVAGE_CHECK(token[row] >= 0, "no token has any weight");
}

void fill_sampling(Operations& operations) { operations.sample = sample; }

}  // namespace selvage::kernels::cpu

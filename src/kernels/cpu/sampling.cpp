// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/row_weights.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels::cpu {
namespace {

// One thread's buffers, which keep their memory.
struct Buffers {
    std::vector<std::int64_t> totals;  // of blocks
    std::vector<float> weights, lane_maxima;
    std::vector<std::int32_t> ids;
    std::vector<Candidate> candidates, reordered;
};

class Row {
  public:
    Row(float const* logits, float max, std::int64_t ids, Sampling const& options, Buffers& buffers)
        : ids_(ids),
          options_(options),
          buffers_(buffers),
          whole_(options.top_k <= 0 && options.top_p >= 1),
          weights_(logits, ids, max, static_cast<float>(options.temperature), whole_ ? nullptr : room_for_weights()) {}

    // False: no token has any weight.
    bool draw(std::int32_t& token, float& log_probability) {
        buffers_.totals.resize(static_cast<std::size_t>(weights_.blocks()));
        weights_.compute(buffers_.totals.data(), whole_ ? nullptr : buffers_.lane_maxima.data());
        Cut cut;
        for (std::int64_t const total : buffers_.totals) cut.total += total;
        if (cut.total <= 0) return false;
        if (!whole_) cut = apply_cuts(cut);
        std::int64_t const target = product_high(options_.bits, cut.total);
        Candidate const drawn = cut.listed ? draw_from(buffers_.candidates, cut, target) : draw_blockwise(cut, target);
        token = drawn.id;
        log_probability = log_share(drawn.whole(), cut.total);
        return true;
    }

  private:
    float* room_for_weights() {
        std::int64_t const blocks = vocabulary_blocks(ids_);
        auto const size = static_cast<std::size_t>(blocks * vocabulary_block);
        buffers_.weights.resize(size);
        buffers_.ids.resize(size);
        buffers_.lane_maxima.resize(static_cast<std::size_t>(16 * blocks));
        return buffers_.weights.data();
    }

    Cut apply_cuts(Cut cut) {
        if (options_.top_k > 0 && options_.top_k < ids_) {
            float const low = bound_of_largest(buffers_.lane_maxima, options_.top_k);
            Measure const from_low = weights_.at_least(low);
            if (from_low.count > options_.top_k)
                cut = find_cut(low, from_low, options_.top_k, &Measure::count);
            else if (low > least_weight)
                cut = {{low, cut.last.id}, from_low.sum, false};  // these are they
        }
        if (options_.top_p < 1) {
            std::int64_t const need = share_of(options_.top_p, cut.total);
            float const low = bound_of_share(cut, need, ids_);
            cut = find_cut(low, weights_.at_least(low), need, &Measure::sum);
        }
        return cut;
    }

    // The shortest prefix whose measure is `need` at least, known to end among the weights from `low` up.
    Cut find_cut(float low, Measure from_low, std::int64_t need, std::int64_t Measure::*measure) {
        CutSearch search(low, from_low, need, measure);
        while (!search.done()) search.take(weights_.at_least(search.middle()));
        auto const count = static_cast<std::size_t>(weights_.select(buffers_.ids.data(), search.low(), search.high()));
        buffers_.candidates.clear();
        for (std::int32_t const id : std::span(buffers_.ids).first(count))
            buffers_.candidates.push_back(weights_.candidate(id));
        buffers_.reordered = buffers_.candidates;
        return search.cut(buffers_.reordered);
    }

    // What draws is the first id whose cumulative weight exceeds `target`.
    Candidate draw_blockwise(Cut const& cut, std::int64_t target) const {
        for (std::int64_t block = 0;; ++block) {
            std::int64_t const kept =
                whole_ ? buffers_.totals[static_cast<std::size_t>(block)] : weights_.kept_of(block, cut);
            if (target < kept) return weights_.draw_in(block, cut, target);
            target -= kept;
        }
    }

    std::int64_t ids_;
    Sampling const& options_;
    Buffers& buffers_;
    bool whole_;  // nothing is cut
    RowWeights weights_;
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

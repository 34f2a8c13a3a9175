// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sampling weights of one row, and what drawing asks of them.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/table.h"
#include "kernels/sampling_cuts.h"
#include "kernels/vocabulary_shard.h"

namespace selvage::kernels::cpu {

class RowWeights {
  public:
    // Of the first `ids` logits. `weights` (null: not kept) has room for whole vectors of 16.
    RowWeights(float const* logits, std::int64_t ids, float max, float temperature, float* weights)
        : row_{logits, ids, max, temperature, nullptr, weights, nullptr} {}

    std::int64_t blocks() const { return vocabulary_blocks(row_.n); }

    // Computes the weights; see WeightsOfRow.
    void compute(std::int64_t* block_totals, float* lane_maxima) const {
        WeightsOfRow row = row_;
        row.block_totals = block_totals;
        row.lane_maxima = lane_maxima;
        kernel_table().row_weights(row);
    }

    // The following needs kept weights.
    Measure at_least(float bound) const {
        Measure measure;
        measure.sum = kernel_table().sum_at_least(row_.weights, bound, row_.n, &measure.count);
        return measure;
    }

    Candidate candidate(std::int64_t id) const { return {row_.weights[id], static_cast<std::int32_t>(id)}; }

    // The ids, ascending, of the weights in [low, high); returns their number.
    std::int64_t select(std::int32_t* ids, float low, float high) const {
        return kernel_table().select_between(ids, row_.weights, low, high, row_.n);
    }

    std::int64_t kept_of(std::int64_t block, Cut const& cut) const {
        std::int64_t const first = first_of(block), end = end_of(block);
        std::int64_t sum = 0;
        if (first <= cut.last.id && cut.last.id < end - 1) {
            for (std::int64_t id = first; id < end; ++id)
                if (Candidate const c = candidate(id); cut.keeps(c)) sum += c.whole();
            return sum;
        }
        // Of equal weights all are kept up to the last one's id, and none behind.
        float const bound = first > cut.last.id ? next_above(cut.last.weight) : cut.last.weight;
        return kernel_table().sum_at_least(row_.weights + first, bound, end - first, &sum);
    }

    // The first kept id of a block whose cumulative weight exceeds `target`. Computes weights that are not kept again.
    Candidate draw_in(std::int64_t block, Cut const& cut, std::int64_t target) const {
        std::int64_t const first = first_of(block);
        float block_weights[vocabulary_block];
        float const* weights = row_.weights + first;
        if (row_.weights == nullptr) {
            WeightsOfRow const again{row_.logits + first,
                                     end_of(block) - first,
                                     row_.max,
                                     row_.temperature,
                                     nullptr,
                                     block_weights,
                                     nullptr};
            kernel_table().row_weights(again);
            weights = block_weights;
        }
        for (std::int64_t i = 0;; ++i) {
            Candidate const drawn{weights[i], static_cast<std::int32_t>(first + i)};
            if (!cut.keeps(drawn)) continue;
            target -= drawn.whole();
            if (target < 0) return drawn;
        }
    }

  private:
    std::int64_t first_of(std::int64_t block) const { return block * vocabulary_block; }
    std::int64_t end_of(std::int64_t block) const { return std::min(row_.n, (block + 1) * vocabulary_block); }

    WeightsOfRow row_;
};

}  // namespace selvage::kernels::cpu

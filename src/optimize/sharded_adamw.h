// SPDX-License-Identifier: Apache-2.0
#pragma once
// AdamW whose moments are sharded over the data axis (ZeRO-1, Rajbhandari et al. 2020). Bits do not depend on the
// number of ranks.
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "comm/process_grid.h"
#include "comm/tensor_collectives.h"
#include "optimize/options.h"
#include "tensor/parameter_set.h"

namespace selvage {

class ShardedAdamW {
  public:
    ShardedAdamW(Arena& arena, ProcessGrid const& grid, ParameterSet& parameters, OptimizerOptions options);

    // Elements of the flat vector that each rank of the data axis owns: whole blocks of ParameterSet::block_elements.
    std::vector<Range> const& shards() const { return shards_; }
    Range shard() const { return shards_[static_cast<std::size_t>(rank_)]; }
    TensorView first_moment() const { return first_moment_; }  // [shard size]
    TensorView second_moment() const { return second_moment_; }

    struct Result {
        double grad_norm = 0;  // of the normalised gradient, before clipping
        double learning_rate = 0;
        bool changed = true;  // false: the norm is above the limit or not finite, and nothing was changed
    };
    // For a gradient that is made part by part: the squares of a part (positions in the shard, whole blocks but at its
    // end), while it is at hand. Parts may be given at the same time by several threads, each in a stream of its own.
    void add_squares(TensorView gradient, Range part) { add_squares(gradient, part, stream_); }
    void add_squares(TensorView gradient, Range part, Stream& stream);
    enum class Squares : std::uint8_t { to_do, done };  // done: add_squares() had all of the gradient

    // gradient: this rank's shard of the summed gradient; divided by `weight_sum` first. Collective over data and
    // tensor: sums over the tensor axis of what its ranks share (in place), norm, clip, update of the shard; where the
    // parameters are whole all ranks gather the new values then. Squares::done is for grids without a tensor axis.
    Result step(TensorView gradient, double weight_sum, std::int64_t step, std::int64_t total_steps,
                Squares squares = Squares::to_do, double norm_limit = std::numeric_limits<double>::infinity());

  private:
    // Consecutive elements of the shard that are treated alike; multiples of 64.
    struct Piece {
        Range elements;  // of the flat vector
        bool weight_decay = true;
    };
    static std::vector<Piece> pieces_of(ParameterSet const& parameters, Range shard);
    // Parts of the shard that other ranks of the tensor axis hold too, and what this rank counts in the norm.
    struct Shared {
        Range elements;  // of the shard
        Cut const* cut;
    };
    void find_shared();
    void sum_shared(TensorView gradient);
    void add_counted_squares(TensorView gradient);
    // Of the whole gradient: fp64 sums per block, gathered in block order, one fixed tree.
    double sum_of_squares();
    void update(TensorView gradient, double gradient_scale, double learning_rate, std::int64_t step);
    void gather_values();

    ProcessGrid const& grid_;
    ParameterSet& parameters_;
    OptimizerOptions options_;
    int rank_ = 0;
    Stream stream_;
    std::vector<Range> shards_;
    std::vector<std::size_t> value_bytes_, block_bytes_;  // per rank
    std::vector<Piece> pieces_;
    std::vector<Shared> shared_;
    std::vector<Range> counted_;  // of the shard
    std::vector<double> own_sums_, block_sums_, part_sums_;
    TensorCollectives data_collectives_, tensor_collectives_;
    Tensor shared_values_, all_shared_values_;  // of this rank, and of all of the tensor axis
    Tensor first_moment_, second_moment_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of activations over the ranks of the tensor axis: norms and the residual stream are split by rows (sequence
// parallelism; Korthikanti et al. 2022), products need all rows. With one rank nothing happens.
#include <cstddef>
#include <vector>

#include "comm/tensor_collectives.h"
#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace selvage {

class TensorAxis {
  public:
    // Both must outlive this.
    TensorAxis(Arena& arena, ProcessGrid const& grid)
        : arena_(arena), collectives_(grid, Axis::tensor, arena.device()) {}
    Communicator& ranks() const { return collectives_.ranks(); }
    int rank() const { return ranks().rank(); }
    int size() const { return ranks().size(); }
    // See DeviceCollectives.
    bool only_streams() const { return collectives_.only_streams(); }

    // always: for gradients, whose sums over rows must have every row once. for_many: where there are few rows every
    // rank has them all, which takes fewer messages. The bits of a row are the same.
    enum class Split : std::uint8_t { always, for_many };
    // This rank's rows of a batch of `rows`, and the most that it can have.
    Range own(std::int64_t rows, Split split) const { return rows_of(rows, split, rank()); }
    std::int64_t most_own(std::int64_t rows, Split split) const;

    // The calls below are collective. all [rows, n]: in come own rows, out come all.
    void gather(TensorView all, Split split, Stream& stream);
    // own [own rows, n] = the sum over the ranks, in their order, of `partial` [rows, n]; f32.
    void sum(TensorView own, TensorView partial, Split split, Stream& stream);

  private:
    Range rows_of(std::int64_t rows, Split split, int rank) const;
    bool is_split(std::int64_t rows, Split split) const;
    // Bytes of each rank's rows.
    std::vector<std::size_t> const& counts(std::int64_t rows, std::size_t row_bytes);

    Arena& arena_;
    TensorCollectives collectives_;
    std::vector<std::size_t> counts_, own_counts_;
    Tensor received_;  // grows
};

}  // namespace selvage

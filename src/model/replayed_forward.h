// SPDX-License-Identifier: Apache-2.0
#pragma once
// Forward passes of decoding steps without the price of their launches: a step's launches are recorded once for each
// size, and replayed on what the next steps of that size put into the same buffers.
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "kernels/attention_plan.h"
#include "model/model.h"

namespace selvage {

enum class Replay : std::uint8_t { never, where_possible };

class ReplayedForward {
  public:
    // All must outlive it. Nothing is replayed on the CPU, nor where ranks of the tensor axis exchange through the
    // host.
    ReplayedForward(Model& model, KvCache& cache, Workspace& workspace, Replay replay);

    // Model::forward() in every bit, with its promises. The first step of a size is launched (and allocates what there
    // is to allocate), the second is recorded, the others are replayed; batches that are not one row of every sequence
    // are launched.
    TensorView forward(TokenBatch const& batch);

    std::int64_t replays() const { return replays_; }
    static constexpr std::size_t most_recordings = 256;

  private:
    // All that launches depend on beside the buffers' content.
    using Size = std::pair<std::int64_t, kernels::AttentionSizes>;  // rows, and the rest
    void drop_stale();

    Model& model_;
    KvCache& cache_;
    Workspace& workspace_;
    bool possible_;
    std::map<Size, std::unique_ptr<Recording>> recordings_;  // null: launched once
    std::int64_t weight_moves_ = 0, plan_moves_ = 0;         // that they were made with
    std::int64_t replays_ = 0;
};

}  // namespace selvage

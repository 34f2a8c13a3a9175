// SPDX-License-Identifier: Apache-2.0
#pragma once
// One optimizer step on planned lanes. The bits of its results do not depend on the size of the data axis.
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "comm/process_grid.h"
#include "data/packing.h"
#include "model/model.h"
#include "optimize/sharded_adamw.h"

namespace selvage {

// What each rank of the data axis keeps a part of only: the optimizer's state (ZeRO-1), the sums of gradients too
// (ZeRO-2), or the parameters as well (ZeRO-3). The bits are the same.
enum class Shard : std::uint8_t { optimizer, gradients, parameters };
// How the model of such a trainer holds its parameters.
inline Parameters parameters_of(Shard shard) {
    return shard == Shard::parameters ? Parameters::sharded : Parameters::whole;
}

struct TrainOptions {
    std::int64_t lanes = 8;
    std::int64_t steps_per_round = 100;
    std::int64_t batch_tokens = 8192;
    std::int64_t micro_batch_tokens = 1024;
    Shard shard = Shard::optimizer;
    Recompute recompute = Recompute::none;
    std::int64_t threads_per_rank = 1;
    OptimizerOptions optimizer;
};

// What a step may reach and still change the weights.
struct StepLimits {
    double loss = std::numeric_limits<double>::infinity();
    double grad_norm = std::numeric_limits<double>::infinity();
};

class Trainer {
  public:
    // Makes every buffer of a step (micro_batch_tokens rows of activations, up to log2(lanes) + 1 gradients, or one and
    // that many shards). Errors (bad_data): more data ranks than lanes, lanes not a power of two.
    // `arena`, `grid` and `model`, made with parameters_of(options.shard), must outlive the trainer.
    Trainer(Arena& arena, ProcessGrid const& grid, Model& model, TrainOptions const& options);
    ~Trainer();

    struct Result {
        double loss = 0;  // weighted mean, nats per target token
        double grad_norm = 0;
        double learning_rate = 0;
        std::int64_t target_tokens = 0;  // positions with loss weight, all lanes
        std::int64_t input_tokens = 0;
        double communication_seconds = 0;  // of this rank: waiting for other ranks while nothing was computed
        bool updated = true;  // false: loss or gradient norm is above the limits or not finite, and nothing was
                              // changed; on every rank
    };
    // Collective over the data axis. `rows` is the woven file that the plan indexes. Packs the model's weights
    // for itself; afterwards they are out of date. Error (bad_data) on every rank: no
    // token of the step has loss weight.
    Result step(std::span<Woven const> rows, StepPlan const& plan, std::int64_t total_steps,
                StepLimits const& limits = {});
    ShardedAdamW& optimizer();
    // Of the last step: parts of the gradient whose exchange between ranks had begun on this one when its last backward
    // pass was at its last operation.
    std::int64_t overlapped_pieces() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "driver/training.h"

#include <algorithm>

#include "base/philox.h"

namespace selvage::bench {
namespace {

// Random tokens, every one of them with loss.
std::vector<Woven> random_rows(Options const& options) {
    Random const random(11, Purpose::test);
    auto const vocabulary = static_cast<double>(model_config(options.model).vocabulary);
    std::vector<Woven> rows(static_cast<std::size_t>(options.sequences));
    for (std::size_t row = 0; row < rows.size(); ++row) {
        auto const token = [&](std::int64_t at) {
            return static_cast<Token>(
                vocabulary * random.uniform({static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(at), 0}));
        };
        auto const length = static_cast<std::size_t>(options.length());
        for (std::int64_t at = 0; at < options.length(); ++at) {
            rows[row].input_tokens.push_back(token(at));
            rows[row].target_tokens.push_back(token(at + 1));
        }
        rows[row].example = static_cast<std::int64_t>(row);
        rows[row].loss_weight.assign(length, 1.0F);
        rows[row].origin.assign(length, Origin::gold);
        rows[row].target_origin.assign(length, Origin::gold);
    }
    return rows;
}

std::int64_t micro_batch_tokens(Options const& options) {
    return std::min(options.micro_batch_tokens, options.sequences / options.lanes * options.length());
}

// Consecutive sequences in every lane, cut into full micro-batches.
StepPlan plan_of(Options const& options) {
    std::int64_t const at_once = micro_batch_tokens(options) / options.length();
    std::int64_t const in_lane = options.sequences / options.lanes;
    StepPlan plan;
    plan.lanes.resize(static_cast<std::size_t>(options.lanes));
    for (std::int64_t sequence = 0; sequence < options.sequences; ++sequence) {
        auto& lane = plan.lanes[static_cast<std::size_t>(sequence / in_lane)];
        if (sequence % in_lane % at_once == 0) lane.emplace_back();
        lane.back().indices.push_back(sequence);
    }
    return plan;
}

TrainOptions train_options(Options const& options) {
    TrainOptions train;
    train.lanes = options.lanes;
    train.batch_tokens = options.sequences * options.length();
    train.micro_batch_tokens = micro_batch_tokens(options);
    train.threads_per_rank = options.threads;
    return train;
}

}  // namespace

Training::Training(Job& job, Options const& options)
    : rows_(random_rows(options)),
      plan_(plan_of(options)),
      trainer_(job.arena(), job.grid(), job.model(), train_options(options)),
      tokens_(static_cast<double>(options.sequences * options.length())) {}

}  // namespace selvage::bench

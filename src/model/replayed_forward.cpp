// SPDX-License-Identifier: Apache-2.0
#include "model/replayed_forward.h"

#include <algorithm>

#include "kernels/batch_invariance.h"
#include "model/weight_source.h"
#include "model/workspace.h"

namespace selvage {

ReplayedForward::ReplayedForward(Model& model, KvCache& cache, Workspace& workspace, Replay replay)
    : model_(model),
      cache_(cache),
      workspace_(workspace),
      possible_(replay == Replay::where_possible && model.stream_.device() != DeviceKind::cpu &&
                kernels::is_batch_invariant(model.stream_.device())) {}

TensorView ReplayedForward::forward(TokenBatch const& batch) {
    bool const decodes =
        std::ranges::all_of(batch.segments, [](kernels::AttentionSegment const& segment) { return segment.rows == 1; });
    if (!possible_ || !decodes || batch.tokens.empty() || !model_.only_launches())
        return model_.forward(batch, cache_, workspace_);
    Workspace::Buffers& buffers = workspace_.buffers();
    buffers.start(batch, model_, cache_.pages(), kernels::AttentionPlan::Sizes::rounded_up, model_.stream_);
    drop_stale();
    auto const [found, is_new] = recordings_.try_emplace({buffers.batch_rows, buffers.plan.sizes()});
    auto& recording = found->second;
    if (is_new) return model_.run_layers(cache_, workspace_);
    if (recording == nullptr) recording = model_.stream_.record_work([&] { model_.run_layers(cache_, workspace_); });
    model_.stream_.replay(*recording);
    ++replays_;
    return buffers.hidden.first(buffers.batch_rows);
}

// Recordings name the memory that the lists and the weights were in.
void ReplayedForward::drop_stale() {
    std::int64_t const plan_moves = workspace_.buffers().plan.moves();
    bool const moved = weight_moves_ != model_.weights_->moves() || plan_moves_ != plan_moves;
    if (!moved && recordings_.size() < most_recordings) return;
    recordings_.clear();
    weight_moves_ = model_.weights_->moves();
    plan_moves_ = plan_moves;
}

}  // namespace selvage

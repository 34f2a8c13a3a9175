// SPDX-License-Identifier: Apache-2.0
#pragma once
// The log-probability of every token of some drafts as a training step computes it: prompts and answers in packed rows.
#include <vector>

#include "generate/small_model.h"
#include "kernels/softmax.h"

namespace selvage::test {

inline std::vector<std::vector<float>> training_logprob(SmallModel& small, std::vector<DraftRequest> const& requests,
                                                        std::vector<Draft> const& drafts) {
    std::vector<Token> tokens, targets;
    std::vector<std::int64_t> lengths;
    for (std::size_t i = 0; i < drafts.size(); ++i) {
        std::size_t const before = tokens.size();
        tokens.insert(tokens.end(), requests[i].prompt.begin(), requests[i].prompt.end());
        tokens.insert(tokens.end(), drafts[i].tokens.begin(), drafts[i].tokens.end() - 1);
        lengths.push_back(static_cast<std::int64_t>(tokens.size() - before));
        targets.insert(targets.end(), requests[i].prompt.begin() + 1, requests[i].prompt.end());
        targets.insert(targets.end(), drafts[i].tokens.begin(), drafts[i].tokens.end());
    }
    auto const rows = static_cast<std::int64_t>(tokens.size());
    PackedSequences const packed(tokens, lengths);
    KvCache cache(small.arena, small.model, packed.pages());
    Workspace workspace(small.arena, small.model, rows, Keep::activations);
    TensorView const hidden = small.model.forward(packed.batch(), cache, workspace);
    Tensor logits(small.arena, "test logits", DType::f32, {rows, small.model.config().vocabulary});
    Tensor sums(small.arena, "test rows", DType::f32, {rows});
    std::vector<float> logprob(tokens.size());
    Stream stream(DeviceKind::cpu);
    small.model.logits(logits, hidden);
    kernels::log_sum_exp(sums, logits, stream);
    kernels::target_log_probability(TensorView::of(logprob.data(), {rows}), logits, sums,
                                    TensorView::of(targets.data(), {rows}), stream);
    std::vector<std::vector<float>> of_drafts;
    for (auto end = logprob.begin(); Draft const& draft : drafts) {
        end += lengths[of_drafts.size()];
        of_drafts.emplace_back(end - static_cast<std::ptrdiff_t>(draft.tokens.size()), end);
    }
    return of_drafts;
}

}  // namespace selvage::test

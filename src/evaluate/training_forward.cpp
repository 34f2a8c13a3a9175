// SPDX-License-Identifier: Apache-2.0
#include "evaluate/training_forward.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/host_copy.h"

namespace selvage {
namespace {

// Sequences of one pass. Every sequence begins a page, so that very many short ones would need a large cache.
std::int64_t most_sequences(std::int64_t rows) { return std::max<std::int64_t>(1, rows / 32); }

std::int64_t inputs_of(ScoredSequence const& sequence) { return static_cast<std::int64_t>(sequence.tokens.size()) - 1; }

}  // namespace

TrainingForward::TrainingForward(Arena& arena, Model& model, std::int64_t rows)
    : model_(model),
      stream_(arena.stream()),
      rows_(rows),
      cache_(arena, model, PackedSequences::pages_for(rows, most_sequences(rows)), KvCache::Layers::shared),
      workspace_(arena, model, rows, Keep::activations),
      logits_(arena, "evaluation logits", DType::f32,
              {std::min(rows, Model::logit_rows), model.vocabulary().part().size()}),
      log_sum_exp_(arena, "evaluation logits", DType::f32, {logits_.shape()[0]}),
      log_probability_(arena, "evaluation logits", DType::f32, {logits_.shape()[0]}) {}

std::vector<std::vector<float>> TrainingForward::run(std::span<ScoredSequence const> sequences) {
    std::vector<std::vector<float>> out(sequences.size());
    for (std::size_t begin = 0; begin < sequences.size();) {
        std::size_t const most = std::min(sequences.size(), begin + static_cast<std::size_t>(most_sequences(rows_)));
        std::size_t end = begin;
        for (std::int64_t used = 0; end < most; ++end) {
            used += inputs_of(sequences[end]);
            if (used > rows_) break;
        }
        SELVAGE_CHECK(end > begin, "a sequence of {} inputs in a pass of {}", inputs_of(sequences[begin]), rows_);
        run_packed(sequences.subspan(begin, end - begin), std::span(out).subspan(begin, end - begin));
        begin = end;
    }
    return out;
}

void TrainingForward::run_packed(std::span<ScoredSequence const> sequences, std::span<std::vector<float>> out) {
    std::vector<std::int32_t> tokens, targets;
    std::vector<std::int64_t> lengths;
    for (ScoredSequence const& sequence : sequences) {
        tokens.insert(tokens.end(), sequence.tokens.begin(), sequence.tokens.end() - 1);
        targets.insert(targets.end(), sequence.tokens.begin() + 1, sequence.tokens.end());
        lengths.push_back(inputs_of(sequence));
    }
    PackedSequences const packed(tokens, lengths);
    TensorView const hidden = model_.forward(packed.batch(), cache_, workspace_);
    auto const total = static_cast<std::int64_t>(tokens.size());
    std::vector<float> logprob(tokens.size());
    for (std::int64_t begin = 0; begin < total; begin += Model::logit_rows) {
        std::int64_t const end = std::min(begin + Model::logit_rows, total);
        TensorView const block = logits_.first(end - begin);
        TensorView const sums = log_sum_exp_.first(end - begin);
        auto const first = static_cast<std::size_t>(begin), count = static_cast<std::size_t>(end - begin);
        std::span<float> const out_block = std::span(logprob).subspan(first, count);
        TensorView const result = result_for(out_block, log_probability_);
        model_.logits(block, hidden.rows(begin, end));
        model_.vocabulary().log_sum_exp(sums, block, stream_);
        model_.vocabulary().target_log_probability(
            result, block, sums, uploaded(std::span<std::int32_t const>(targets).subspan(first, count), stream_),
            stream_);
        collect(out_block, result, stream_);
    }
    auto from = logprob.begin();
    for (std::size_t s = 0; s < sequences.size(); ++s) {
        out[s].assign(from + (sequences[s].answer_start - 1), from + lengths[s]);
        from += lengths[s];
    }
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "generate/forced.h"

#include <algorithm>

#include "generate/readout.h"

namespace selvage {
namespace {

// Sequences of one pass. Every sequence begins a page, so that very many short ones would need a large cache.
std::int64_t most_sequences(std::int64_t rows) { return std::max<std::int64_t>(1, rows / 32); }

// A prediction: which sequence, its place in the answer, and the row of the batch that makes it.
struct Prediction {
    std::size_t sequence = 0;
    std::size_t place = 0;
    std::int32_t row = 0;
};

void check(ForcedSequence const& sequence, std::int64_t rows) {
    auto const length = static_cast<std::int64_t>(sequence.inputs.size());
    SELVAGE_CHECK(0 < length && length <= rows, "a sequence of {} tokens in a forced pass of {} rows", length, rows);
    SELVAGE_CHECK(0 <= sequence.first && sequence.first <= length, "predictions from position {} of {}", sequence.first,
                  length);
    auto const targets = static_cast<std::int64_t>(sequence.targets.size());
    SELVAGE_CHECK(targets == 0 || targets == length - sequence.first, "{} targets for {} predictions", targets,
                  length - sequence.first);
}

}  // namespace

struct ForcedPass::State {
    State(Arena& arena, Model& model, std::int64_t rows, std::uint64_t seed)
        : model(model),
          rows(rows),
          seed(seed),
          cache(arena, model, PackedSequences::pages_for(rows, most_sequences(rows)), KvCache::Layers::shared),
          workspace(arena, model, rows, Keep::nothing),
          readout(arena, model, std::min(rows, Model::logit_rows)) {}

    std::size_t pack(std::span<ForcedSequence const> sequences, std::size_t first);
    void predict(std::span<ForcedSequence const> sequences, std::span<ForcedResult> results,
                 SamplerOptions const* sampler, std::int64_t round, Purpose purpose);
    void predict_block(std::span<Prediction const> block, TensorView hidden, std::span<ForcedSequence const> sequences,
                       std::span<ForcedResult> results);
    void sample_block(std::span<Prediction const> block, std::span<ForcedSequence const> sequences,
                      std::span<ForcedResult> results, SamplerOptions const& sampler, std::int64_t round,
                      Purpose purpose);

    Model& model;
    std::int64_t rows;
    std::uint64_t seed;
    KvCache cache;
    Workspace workspace;
    Readout readout;
    std::vector<Token> tokens;
    std::vector<std::int64_t> lengths;
    std::vector<Prediction> predictions;
    std::vector<std::int32_t> block_rows;
    std::vector<Token> block_tokens;
    std::vector<float> block_values;
    std::vector<Draw> draws;
    std::vector<SampledToken> sampled;
};

ForcedPass::ForcedPass(Arena& arena, Model& model, std::int64_t rows, std::uint64_t seed)
    : state_(std::make_unique<State>(arena, model, rows, seed)) {}
ForcedPass::~ForcedPass() = default;

// Fills `tokens`, `lengths` and `predictions` with as many sequences as fit; returns the first that does not.
std::size_t ForcedPass::State::pack(std::span<ForcedSequence const> sequences, std::size_t first) {
    tokens.clear();
    lengths.clear();
    predictions.clear();
    std::size_t next = first;
    for (; next < sequences.size(); ++next) {
        ForcedSequence const& sequence = sequences[next];
        auto const length = static_cast<std::int64_t>(sequence.inputs.size());
        auto const packed = static_cast<std::int64_t>(tokens.size());
        if (packed + length > rows || static_cast<std::int64_t>(lengths.size()) == most_sequences(rows)) break;
        tokens.insert(tokens.end(), sequence.inputs.begin(), sequence.inputs.end());
        lengths.push_back(length);
        for (std::int64_t position = sequence.first; position < length; ++position)
            predictions.push_back({next, static_cast<std::size_t>(position - sequence.first),
                                   static_cast<std::int32_t>(packed + position)});
    }
    return next;
}

void ForcedPass::State::predict(std::span<ForcedSequence const> sequences, std::span<ForcedResult> results,
                                SamplerOptions const* sampler, std::int64_t round, Purpose purpose) {
    if (predictions.empty()) return;
    PackedSequences const packed(tokens, lengths);
    TensorView const hidden = model.forward(packed.batch(), cache, workspace);
    auto const most = static_cast<std::size_t>(readout.most_rows());
    for (std::size_t first = 0; first < predictions.size(); first += most) {
        auto const block =
            std::span<Prediction const>(predictions).subspan(first, std::min(most, predictions.size() - first));
        predict_block(block, hidden, sequences, results);
        if (sampler != nullptr) sample_block(block, sequences, results, *sampler, round, purpose);
    }
}

void ForcedPass::State::predict_block(std::span<Prediction const> block, TensorView hidden,
                                      std::span<ForcedSequence const> sequences, std::span<ForcedResult> results) {
    block_rows.clear();
    for (Prediction const& prediction : block) block_rows.push_back(prediction.row);
    readout.read(hidden, block_rows);

    block_tokens.resize(block.size());
    readout.argmax(block_tokens);
    for (std::size_t i = 0; i < block.size(); ++i) results[block[i].sequence].argmax[block[i].place] = block_tokens[i];

    // Where no target is wanted any token will do.
    for (std::size_t i = 0; i < block.size(); ++i) {
        std::vector<Token> const& targets = sequences[block[i].sequence].targets;
        block_tokens[i] = targets.empty() ? 0 : targets[block[i].place];
    }
    block_values.resize(block.size());
    readout.log_probability(block_values, block_tokens);
    for (std::size_t i = 0; i < block.size(); ++i)
        if (ForcedResult& result = results[block[i].sequence]; !result.logprob.empty())
            result.logprob[block[i].place] = block_values[i];
}

void ForcedPass::State::sample_block(std::span<Prediction const> block, std::span<ForcedSequence const> sequences,
                                     std::span<ForcedResult> results, SamplerOptions const& sampler, std::int64_t round,
                                     Purpose purpose) {
    draws.clear();
    for (Prediction const& prediction : block) {
        ForcedSequence const& sequence = sequences[prediction.sequence];
        draws.push_back(
            {sampler, draw_bits(seed, purpose, round, sequence.example, static_cast<std::int64_t>(prediction.place),
                                sequence.sample, sequence.turn)});
    }
    sampled.resize(block.size());
    readout.sample(sampled, draws);
    for (std::size_t i = 0; i < block.size(); ++i) block_tokens[i] = sampled[i].token;
    readout.log_probability(block_values, block_tokens);
    for (std::size_t i = 0; i < block.size(); ++i) {
        ForcedResult& result = results[block[i].sequence];
        result.sampled[block[i].place] = sampled[i].token;
        result.sampled_own_logprob[block[i].place] = block_values[i];
        result.sampled_logprob[block[i].place] = sampled[i].sampled_logprob;
    }
}

std::vector<ForcedResult> ForcedPass::run(std::span<ForcedSequence const> sequences, SamplerOptions const* sampler,
                                          std::int64_t round, Purpose purpose) {
    std::vector<ForcedResult> results(sequences.size());
    for (std::size_t i = 0; i < sequences.size(); ++i) {
        check(sequences[i], state_->rows);
        std::size_t const count = sequences[i].inputs.size() - static_cast<std::size_t>(sequences[i].first);
        results[i].logprob.resize(sequences[i].targets.size());
        results[i].argmax.resize(count);
        if (sampler == nullptr) continue;
        results[i].sampled.resize(count);
        results[i].sampled_own_logprob.resize(count);
        results[i].sampled_logprob.resize(count);
    }
    for (std::size_t first = 0; first < sequences.size();) {
        first = state_->pack(sequences, first);
        state_->predict(sequences, results, sampler, round, purpose);
    }
    return results;
}

}  // namespace selvage

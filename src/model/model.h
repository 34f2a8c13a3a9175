// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one forward code, for generation and training. Rows are tokens; what a row sees of its sequence is in KV pages.
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "comm/process_grid.h"
#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "model/model_config.h"
#include "model/tensor_axis.h"
#include "model/vocabulary.h"
#include "tensor/parameter_set.h"

namespace selvage {

class WeightSource;
class Model;

// Pages of every layer. Which page belongs to which sequence is the caller's business.
class KvCache {
  public:
    // shared: the layers use the same pages in turn, for passes of whole sequences only.
    enum class Layers : std::uint8_t { each, shared };
    KvCache(Arena& arena, Model const& model, std::int64_t pages, Layers layers = Layers::each);
    std::int64_t pages() const { return pages_; }
    kernels::KvPages layer(std::int64_t layer) const;
    static std::size_t bytes_per_page(ModelConfig const& config, DType compute);

  private:
    ModelConfig config_;
    std::int64_t pages_;
    std::vector<Tensor> layers_;
};

// Rows to run: tokens and their positions, grouped in segments (one sequence each, every row in exactly one).
struct TokenBatch {
    std::span<std::int32_t const> tokens;
    std::span<std::int32_t const> positions;
    std::span<kernels::AttentionSegment const> segments;
};

// Packed rows of whole sequences, position 0 first, for training and scoring: builds positions, segments and page
// tables (pages handed out from 0 on). Keeps what the TokenBatch points to.
class PackedSequences {
  public:
    // lengths (at least 1) of the sequences that lie one after the other in `tokens`.
    PackedSequences(std::span<std::int32_t const> tokens, std::span<std::int64_t const> lengths);
    PackedSequences(PackedSequences&&) noexcept = default;
    PackedSequences& operator=(PackedSequences&&) noexcept = default;
    TokenBatch batch() const { return {tokens_, positions_, segments_}; }
    std::int64_t pages() const { return pages_; }
    // Pages that `rows` rows in at most `sequences` sequences can need.
    static std::int64_t pages_for(std::int64_t rows, std::int64_t sequences);

  private:
    std::vector<std::int32_t> tokens_, positions_, page_tables_;
    std::vector<kernels::AttentionSegment> segments_;
    std::int64_t pages_ = 0;
};

// Whether a rank of the data axis has all parameters of its rank of the tensor axis, or its shard of them only
// (ParameterSet::shards); the layers' weights are gathered then as they are needed, in memory of two layers.
enum class Parameters : std::uint8_t { whole, sharded };

enum class Keep : std::uint8_t { nothing, activations };
// What the backward pass computes again instead of having kept it, to the same bits: nothing, the inner part of the
// attention (from its norm to its heads' outputs), or all of a layer but what enters it.
enum class Recompute : std::uint8_t { none, attention, block };

// Buffers of one forward pass of at most `rows` rows; with Keep::activations also what the backward pass needs.
class Workspace {
  public:
    Workspace(Arena& arena, Model const& model, std::int64_t rows, Keep keep, Recompute recompute = Recompute::none);
    ~Workspace();
    std::int64_t rows() const;
    struct Buffers;
    Buffers& buffers() { return *buffers_; }

  private:
    std::unique_ptr<Buffers> buffers_;
};

class Model {
  public:
    // The tokenizer has `pieces` pieces (0: as many as the vocabulary has ids). Ids behind them, which pad the
    // vocabulary, are never drawn or predicted; they count in log-probabilities as every id does.
    // `compute` (f32 or bf16) is the type of the products' operands: weights and activations, keys and values. The
    // parameters, the residual stream, sums, norms, softmax, loss and gradients of parameters are f32 with both.
    // `parameters` sharded: calls are collective over the data axis as pack() and the passes say.
    Model(Arena& arena, ModelConfig config, ProcessGrid const& grid, std::int64_t pieces = 0,
          DType compute = DType::f32, Parameters parameters = Parameters::whole);
    ~Model();

    ModelConfig const& config() const { return config_; }
    // The model as this rank of the tensor axis has it.
    ModelConfig const& local() const { return local_; }
    TensorAxis& tensor_axis() const { return *tensor_axis_; }
    DType compute() const { return compute_; }
    // Ids that may be drawn or predicted: 0 .. this - 1.
    std::int64_t drawable_ids() const { return drawable_ids_; }
    // What reads the logits of this model.
    Vocabulary& vocabulary() { return vocabulary_; }
    Vocabulary const& vocabulary() const { return vocabulary_; }
    ParameterSet& parameters() { return parameters_; }
    ParameterSet const& parameters() const { return parameters_; }

    // Copies the parameters into the form that products read, again where it is there; needed after they have changed.
    // In f32 a forward pass works without, on the parameters themselves, to the same bits; training always does. In
    // bf16 every pass needs it. unpack() gives its memory back.
    // Where parameters are sharded every pass needs it, and it is collective over the data axis. For Use::forward it
    // gathers all weights and passes are as ever. For Use::training each pass gathers the layers once more: all ranks
    // of the data axis run a forward and its backward pass together. finish_passes() ends such a pair, on every rank
    // that took part, did so in part, or did not: it takes part in what this one left out.
    using Use = kernels::PackedWeight::Use;
    void pack(Arena& arena, Use use = Use::forward);
    void unpack();
    void finish_passes();
    // Time spent waiting for gathered weights, from the beginning.
    double gather_seconds() const;

    // The passes are collective over the tensor axis: all its ranks have the same batch, and get the same results.
    // Runs the rows through all layers: stores their keys and values, returns the final norm's output [rows, hidden],
    // valid until the workspace is used again.
    TensorView forward(TokenBatch const& batch, KvCache& cache, Workspace& workspace);
    // logits[n, vocabulary().part()] (f32) of hidden[n, hidden]. Not collective.
    void logits(TensorView out, TensorView hidden);
    // Writes or adds the gradient of sum_r weight[r] * -log p(targets[r]) over rows with weight != 0 into `gradients`
    // [flat_size] (whose padding is zero), for the batch of the last forward on this workspace (Keep::activations),
    // which must be whole sequences. Returns the loss sum in fp64, in row order. Never holds more than `logit_rows`
    // rows of logits. Uses the activations up: once per forward; `cache` is for what is computed again.
    // `is_final` (may be empty) is told, now and then, that this call puts no more into the stream that writes to the
    // elements from `first` on of the flat vector; the last time, with 0, at the end.
    using GradientsFinal = std::function<void(std::int64_t first)>;
    double backward(TokenBatch const& batch, std::span<std::int32_t const> targets, std::span<float const> weights,
                    KvCache& cache, Workspace& workspace, TensorView gradients,
                    kernels::Accumulate accumulate = kernels::Accumulate::add, GradientsFinal const& is_final = {});

    static constexpr std::int64_t logit_rows = 512;

  private:
    friend class ReplayedForward;
    // The launches of a forward pass, on what the workspace was given.
    TensorView run_layers(KvCache& cache, Workspace& workspace);
    // Whether they are all there is to it: nothing goes through the host.
    bool only_launches() const;

    ModelConfig config_;
    std::unique_ptr<TensorAxis> tensor_axis_;
    ModelConfig local_;
    DType compute_;
    std::int64_t drawable_ids_;
    Vocabulary vocabulary_;
    ParameterSet parameters_;
    Stream stream_;
    std::unique_ptr<WeightSource> weights_;
};

// The parameters in order, with shapes, initialisation (residual projections scaled by 1/sqrt(2 layers)) and what each
// rank of the tensor axis holds of them (model/tensor_parts.h; its errors).
std::vector<ParameterSpec> parameter_specs(ModelConfig const& config, int tensor_ranks = 1);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the passes of a model get its weights from.
#include "device/arena.h"
#include "model/model_weights.h"

namespace selvage {

class WeightSource {
  public:
    using Use = kernels::PackedWeight::Use;
    virtual ~WeightSource() = default;

    // As Model's.
    virtual void pack(Arena& arena, Use use) = 0;
    virtual void unpack() = 0;
    virtual void finish_passes() {}
    virtual double seconds() const { return 0; }
    // Whether a pass puts launches into the stream and does nothing else.
    virtual bool only_launches() const { return true; }
    // How often the weights that products read came to lie elsewhere.
    std::int64_t moves() const { return moves_; }

    // What products read is there once it was asked for below: a layer until another one is, the others until the next
    // pack(). Layers are asked for in the order of the pass, in training first in that of a forward pass, then in that
    // of its backward pass.
    virtual LayerWeights const& layer(std::int64_t index) = 0;
    virtual Weight const& embedding() = 0;
    virtual Linear const& output() = 0;
    // Which weights there are; beside layers, embedding and output their values too.
    virtual ModelWeights& all() = 0;

  protected:
    std::int64_t moves_ = 0;
};

// On the parameters themselves, which every rank has all of.
class ResidentWeights final : public WeightSource {
  public:
    ResidentWeights(ModelConfig const& config, ParameterSet const& parameters, DType compute, Stream const& stream)
        : compute_(compute), stream_(stream), weights_(config, parameters, [&](Parameter const& parameter) {
              return ParameterSet::slice(parameters.values(), parameter);
          }) {}

    void pack(Arena& arena, Use use) override;
    void unpack() override;
    LayerWeights const& layer(std::int64_t index) override { return weights_.layers[static_cast<std::size_t>(index)]; }
    Weight const& embedding() override { return weights_.embedding; }
    Linear const& output() override { return weights_.output; }
    ModelWeights& all() override { return weights_; }

  private:
    DType compute_;
    Stream stream_;
    ModelWeights weights_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weights whose parameters are cut over the data axis (ZeRO-3; Rajbhandari et al. 2020).
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/shard_gather.h"
#include "model/weight_source.h"

namespace selvage {

// Parameters that are gathered together: they lie one behind the other in a buffer, each at a multiple of 64 elements,
// as in the flat vector, so that every rank has a contiguous part of it.
class GatherUnit {
  public:
    GatherUnit(ParameterSet const& parameters, std::vector<Parameter const*> members, DType dtype, int ranks);
    std::int64_t elements() const { return elements_; }
    DType dtype() const { return dtype_; }
    std::vector<std::size_t> const& counts() const { return counts_; }  // bytes, by rank
    bool has(Parameter const& parameter) const;
    TensorView view(TensorView buffer, Parameter const& parameter) const;
    // Brings what this rank holds into its part of the buffer, rounded where that is bf16.
    void put_own(TensorView buffer, ParameterSet const& parameters, Stream& stream) const;

  private:
    std::int64_t position_of(std::int64_t element) const;  // of the flat vector
    std::vector<Parameter const*> members_;
    std::vector<std::int64_t> positions_;  // of the members
    DType dtype_;
    std::int64_t elements_ = 0;
    std::vector<std::size_t> counts_;
};

// In training two slots take the layers in turn, in the type of the products: while one is computed with, the next one
// is gathered into the other. Norms and biases, the embedding and the output projection are gathered in f32 once for
// each pack(). For Use::forward all is gathered and packed by pack() itself.
//
// pack(), every forward and backward pass in training, and finish_passes() are collective over the data axis. If a rank
// fails in them all throw, those in a pass from their next wait for others.
class GatheredWeights final : public WeightSource {
  public:
    GatheredWeights(Arena& arena, ModelConfig const& config, ParameterSet const& parameters, DType compute,
                    Communicator& data);

    void pack(Arena& arena, Use use) override;
    void unpack() override;
    void finish_passes() override;
    double seconds() const override { return gather_.seconds(); }
    bool only_launches() const override { return use_ == Use::forward; }
    LayerWeights const& layer(std::int64_t index) override;
    Weight const& embedding() override;
    Linear const& output() override;
    ModelWeights& all() override { return weights_; }

  private:
    // Of layers 0, 2, 4 ... or 1, 3, 5 ...: a pass comes to them in turn, forwards and backwards.
    struct Slot {
        Tensor buffer;
        std::int64_t layer = -1;
        ShardGather::Ticket ticket = 0;
        bool is_packed = false;
    };
    Slot& slot_of(std::int64_t layer) { return slots_[static_cast<std::size_t>(layer % 2)]; }
    std::int64_t layers() const { return static_cast<std::int64_t>(layers_.size()); }
    // The layer at a place in a forward and backward pass.
    std::int64_t layer_at(std::int64_t place) const { return place < layers() ? place : 2 * layers() - 1 - place; }

    void make_buffers(Arena& arena, Use use);
    void make_packed_slots(Arena& arena);
    TensorView place_of(Parameter const& parameter) const;  // beside layers
    ShardGather::Ticket start(GatherUnit const& unit, Tensor const& buffer);
    void start_layer(std::int64_t index);
    void advance();  // to the next place
    // In f32, until this is called again.
    TensorView wide(Linear const& matrix);
    void pack_all(Arena& arena);
    // Packs these, which lie in `buffer`, for good; takes it away where products read it.
    void pack_out_of(Tensor& buffer, std::vector<Linear*> const& matrices, Arena& arena);

    ModelConfig const& config_;
    ParameterSet const& parameters_;
    DType compute_;
    Communicator& data_;
    Stream stream_;
    ModelWeights weights_;
    std::vector<GatherUnit> layers_;
    std::optional<GatherUnit> vectors_, embedding_, output_;  // output_: where it is not the embedding
    std::optional<Use> use_;
    Tensor vectors_buffer_, embedding_buffer_, output_buffer_;
    std::array<Slot, 2> slots_;
    Tensor wide_;               // bf16 only: room for a matrix of a layer in f32
    std::vector<Tensor> kept_;  // buffers that packed weights read
    ShardGather::Ticket embedding_ticket_ = 0, output_ticket_ = 0, last_ticket_ = 0;
    bool output_is_packed_ = false;
    std::int64_t place_ = 0;
    ShardGather gather_;
};

}  // namespace selvage

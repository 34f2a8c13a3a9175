// SPDX-License-Identifier: Apache-2.0
#include "model/gathered_weights.h"

#include <algorithm>
#include <utility>

#include "kernels/activation.h"
#include "tensor/host_copy.h"

namespace selvage {
namespace {

constexpr std::int64_t alignment = 64;  // elements

Tensor buffer_of(Arena& arena, DType dtype, std::int64_t elements) {
    return Tensor(arena, "gathered parameters", dtype, {elements});
}

TensorView nowhere(Parameter const&) { return {}; }

std::vector<Parameter const*> parameters_of(std::vector<Linear*> const& matrices) {
    std::vector<Parameter const*> all;
    for (Linear const* const linear : matrices) all.push_back(linear->weight.parameter);
    return all;
}

std::vector<Parameter const*> vectors_of(ParameterSet const& parameters) {
    std::vector<Parameter const*> all;
    for (Parameter const& parameter : parameters.parameters())
        if (parameter.shape.rank() == 1) all.push_back(&parameter);
    return all;
}

}  // namespace

GatherUnit::GatherUnit(ParameterSet const& parameters, std::vector<Parameter const*> members, DType dtype, int ranks)
    : members_(std::move(members)), dtype_(dtype) {
    std::ranges::sort(members_, {}, &Parameter::offset);
    for (Parameter const* const member : members_) {
        positions_.push_back((elements_ + alignment - 1) / alignment * alignment);
        elements_ = positions_.back() + member->shape.elements();
    }
    for (Range const shard : parameters.shards(ranks))
        counts_.push_back(static_cast<std::size_t>(position_of(shard.end) - position_of(shard.begin)) *
                          size_of(dtype_));
}

std::int64_t GatherUnit::position_of(std::int64_t element) const {
    for (std::size_t i = 0; i < members_.size(); ++i)
        if (element < members_[i]->offset + members_[i]->shape.elements())
            return positions_[i] + std::max<std::int64_t>(0, element - members_[i]->offset);
    return elements_;
}

bool GatherUnit::has(Parameter const& parameter) const {
    return std::ranges::find(members_, &parameter) != members_.end();
}

TensorView GatherUnit::view(TensorView buffer, Parameter const& parameter) const {
    std::int64_t const at = position_of(parameter.offset);
    return buffer.rows(at, at + parameter.shape.elements()).reshape(parameter.shape);
}

void GatherUnit::put_own(TensorView buffer, ParameterSet const& parameters, Stream& stream) const {
    for (Parameter const* const member : members_) {
        Range const part = parameters.held().intersect({member->offset, member->offset + member->shape.elements()});
        if (part.size() == 0) continue;
        std::int64_t const at = position_of(part.begin);
        TensorView const to = buffer.rows(at, at + part.size());
        if (dtype_ == DType::f32)
            copy(to, parameters.values_of(part), stream);
        else
            kernels::convert(to, parameters.values_of(part), stream);
    }
}

GatheredWeights::GatheredWeights(Arena& arena, ModelConfig const& config, ParameterSet const& parameters, DType compute,
                                 Communicator& data)
    : config_(config),
      parameters_(parameters),
      compute_(compute),
      data_(data),
      stream_(arena.stream()),
      weights_(config, parameters, nowhere),
      gather_(data, arena.device()) {
    int const ranks = data.size();
    for (LayerWeights& layer : weights_.layers)
        layers_.emplace_back(parameters, parameters_of(layer.matrices()), compute, ranks);
    vectors_.emplace(parameters, vectors_of(parameters), DType::f32, ranks);
    embedding_.emplace(parameters, std::vector{weights_.embedding.parameter}, DType::f32, ranks);
    if (!config.tied) output_.emplace(parameters, parameters_of({&weights_.output}), DType::f32, ranks);
}

void GatheredWeights::pack(Arena& arena, Use use) {
    gather_.wait(last_ticket_);  // what no pass has waited for
    if (use_ != use || use == Use::forward) {
        unpack();
        agree(data_, [&] { make_buffers(arena, use); });
        use_ = use;
    }
    start(*vectors_, vectors_buffer_);
    embedding_ticket_ = output_ticket_ = start(*embedding_, embedding_buffer_);
    for (std::int64_t index = 0; index < std::min<std::int64_t>(2, layers()); ++index) start_layer(index);
    if (output_) output_ticket_ = start(*output_, output_buffer_);
    output_is_packed_ = false;
    place_ = 0;
    if (use == Use::forward) pack_all(arena);
    ++moves_;
}

void GatheredWeights::unpack() {
    gather_.wait(last_ticket_);
    use_.reset();
    ++moves_;
    weights_ = ModelWeights(config_, parameters_, nowhere);
    for (Slot& slot : slots_) slot = {};
    for (Tensor* const buffer : {&vectors_buffer_, &embedding_buffer_, &output_buffer_, &wide_}) *buffer = {};
    kept_.clear();
}

void GatheredWeights::make_buffers(Arena& arena, Use use) {
    vectors_buffer_ = buffer_of(arena, DType::f32, vectors_->elements());
    embedding_buffer_ = buffer_of(arena, DType::f32, embedding_->elements());
    if (output_) output_buffer_ = buffer_of(arena, DType::f32, output_->elements());
    std::int64_t longest = 0, largest = 0;
    for (GatherUnit const& unit : layers_) longest = std::max(longest, unit.elements());
    for (Slot& slot : slots_) slot.buffer = buffer_of(arena, compute_, longest);
    for (LayerWeights& layer : weights_.layers)
        for (Parameter const* const matrix : parameters_of(layer.matrices()))
            largest = std::max(largest, matrix->shape.elements());
    if (compute_ != DType::f32) wide_ = buffer_of(arena, DType::f32, largest);
    weights_ = ModelWeights(config_, parameters_, [this](Parameter const& parameter) { return place_of(parameter); });
    if (use == Use::training && compute_ != DType::f32) make_packed_slots(arena);
}

TensorView GatheredWeights::place_of(Parameter const& parameter) const {
    if (vectors_->has(parameter)) return vectors_->view(vectors_buffer_, parameter);
    if (embedding_->has(parameter)) return embedding_->view(embedding_buffer_, parameter);
    if (output_ && output_->has(parameter)) return output_->view(output_buffer_, parameter);
    return {};
}

// Layers are alike: those of a slot share its packed weights.
void GatheredWeights::make_packed_slots(Arena& arena) {
    auto const packed = [&](TensorView value) {
        return std::make_shared<kernels::PackedWeight>(arena, value, compute_, Use::training);
    };
    for (std::size_t index = 0; index < weights_.layers.size(); ++index) {
        auto const matrices = weights_.layers[index].matrices();
        auto const same = weights_.layers[index % 2].matrices();
        for (std::size_t i = 0; i < matrices.size(); ++i) {
            Shape const shape = matrices[i]->weight.parameter->shape;
            matrices[i]->packed = index < 2 ? packed(wide_.first(shape.elements()).reshape(shape)) : same[i]->packed;
        }
    }
    weights_.output.packed = packed(weights_.output.weight.value);
}

ShardGather::Ticket GatheredWeights::start(GatherUnit const& unit, Tensor const& buffer) {
    try {
        unit.put_own(buffer, parameters_, stream_);
    } catch (std::exception const& error) {
        gather_.abandon(ExitCode::internal, error.what());
        throw;
    }
    return last_ticket_ = gather_.start(buffer.first(unit.elements()), unit.counts(), stream_);
}

void GatheredWeights::start_layer(std::int64_t index) {
    GatherUnit const& unit = layers_[static_cast<std::size_t>(index)];
    Slot& slot = slot_of(index);
    slot.layer = index;
    slot.is_packed = false;
    slot.ticket = start(unit, slot.buffer);
    for (Linear* const linear : weights_.layers[static_cast<std::size_t>(index)].matrices())
        linear->weight.value = unit.view(slot.buffer, *linear->weight.parameter);
}

void GatheredWeights::advance() {
    gather_.wait(slot_of(layer_at(place_)).ticket);
    place_ += 1;
    std::int64_t const next = layer_at(place_ % (2 * layers()));
    if (slot_of(next).layer != next) start_layer(next);
}

void GatheredWeights::finish_passes() {
    while (place_ < 2 * layers()) advance();
    place_ = 0;
    gather_.wait(last_ticket_);  // without a thread others would not get what is left of it from this rank
}

LayerWeights const& GatheredWeights::layer(std::int64_t index) {
    LayerWeights& layer = weights_.layers[static_cast<std::size_t>(index)];
    if (use_ == Use::forward) return layer;
    SELVAGE_CHECK(use_ == Use::training && place_ < 2 * layers() && index == layer_at(place_),
                  "layer {} at place {} of a pass", index, place_);
    advance();
    Slot& slot = slot_of(index);
    if (compute_ != DType::f32 && !std::exchange(slot.is_packed, true))
        for (Linear* const linear : layer.matrices()) linear->packed->update(wide(*linear), stream_);
    return layer;
}

Weight const& GatheredWeights::embedding() {
    SELVAGE_CHECK(use_.has_value(), "a pass without gathered weights");
    gather_.wait(embedding_ticket_);
    return weights_.embedding;
}

Linear const& GatheredWeights::output() {
    SELVAGE_CHECK(use_.has_value(), "a pass without gathered weights");
    Linear& output = weights_.output;
    gather_.wait(output_ticket_);
    if (use_ == Use::training && output.packed && !std::exchange(output_is_packed_, true))
        output.packed->update(output.weight.value, stream_);
    return output;
}

TensorView GatheredWeights::wide(Linear const& matrix) {
    TensorView const value = matrix.weight.value;
    if (value.dtype() == DType::f32) return value;
    TensorView const out = wide_.first(value.elements());
    kernels::convert(out, value.reshape({value.elements()}), stream_);
    return out.reshape(value.shape());
}

void GatheredWeights::pack_all(Arena& arena) {
    for (std::int64_t index = 0; index < layers(); ++index) {
        Slot& slot = slot_of(index);
        gather_.wait(slot.ticket);
        agree(data_, [&] {
            std::int64_t const elements = slot.buffer.shape()[0];
            pack_out_of(slot.buffer, weights_.layers[static_cast<std::size_t>(index)].matrices(), arena);
            if (slot.buffer.view().empty() && index + 2 < layers()) slot.buffer = buffer_of(arena, compute_, elements);
        });
        if (index + 2 < layers()) start_layer(index + 2);
    }
    gather_.wait(last_ticket_);
    agree(data_, [&] { pack_out_of(output_ ? output_buffer_ : embedding_buffer_, {&weights_.output}, arena); });
    for (Slot& slot : slots_) slot.buffer = {};
    output_buffer_ = {};
    wide_ = {};
}

void GatheredWeights::pack_out_of(Tensor& buffer, std::vector<Linear*> const& matrices, Arena& arena) {
    bool read = false;
    for (Linear* const linear : matrices) {
        linear->packed = std::make_shared<kernels::PackedWeight>(arena, wide(*linear), compute_, Use::forward);
        read = read || linear->packed->reads_weight();
        if (!linear->packed->reads_weight()) linear->weight.value = {};
    }
    if (read) kept_.push_back(std::exchange(buffer, {}));
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// All parameters of a model as one flat fp32 vector with names. The optimizer and the collectives see the flat vector,
// the layers see named tensors, files see names and global shapes.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace selvage {

enum class InitKind : std::uint8_t { zeros, ones, normal };

struct ParameterSpec {
    std::string name;  // unique, "layers.0.attention.query.weight"
    Shape shape;       // global
    InitKind init = InitKind::normal;
    float deviation = 0.02F;   // standard deviation of InitKind::normal
    bool weight_decay = true;  // norms and biases: false
};

struct Parameter {
    ParameterSpec spec;
    std::int64_t offset = 0;  // of the first element in the flat vector; a multiple of 64
};

class ParameterSet {
  public:
    // The flat vector is cut into blocks of this many elements; shards are whole blocks, and so are the units of the
    // gradient norm. Part of the determinism contract.
    static constexpr std::int64_t block_elements = 4096;

    ParameterSet(Arena& arena, std::vector<ParameterSpec> specs);

    std::span<Parameter const> parameters() const { return parameters_; }
    std::int64_t flat_size() const { return flat_size_; }          // padded to whole blocks; padding stays zero
    std::int64_t element_count() const { return element_count_; }  // without padding
    Parameter const& find(std::string_view name) const;            // unknown name: our own bug
    std::int64_t index_of(std::string_view name) const;            // -1: unknown
    TensorView values() const { return values_; }                  // [flat_size] f32
    TensorView value(std::string_view name) const { return slice(values_, find(name)); }
    // The part of `flat` (any buffer of flat_size elements, e.g. gradients) that belongs to a parameter, in its shape.
    static TensorView slice(TensorView flat, Parameter const& parameter);
    // Fills `values` from the seed: key by the name's hash, counter by the global element index.
    void initialise(std::uint64_t seed);

  private:
    std::vector<Parameter> parameters_;
    std::int64_t flat_size_ = 0;
    std::int64_t element_count_ = 0;
    Tensor values_;
};

}  // namespace selvage

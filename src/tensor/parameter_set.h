// SPDX-License-Identifier: Apache-2.0
#pragma once
// All parameters of a model, or what a rank of the tensor axis holds of them, as one flat fp32 vector with names. The
// optimizer and the collectives see the flat vector, the layers see named tensors, files see names and global shapes.
// The vector is whole on every rank of the data axis, or cut over them.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace selvage {

enum class InitKind : std::uint8_t { zeros, ones, normal };

// What each rank of the tensor axis holds of a parameter.
struct Cut {
    int dim = -1;              // that is cut; -1: every rank has all of it
    std::vector<Range> parts;  // of this dim, by rank; several ranks in a row may hold the same
    // Whether `rank` and `other` hold the same elements.
    bool same(int rank, int other) const {
        return dim < 0 || parts[static_cast<std::size_t>(rank)] == parts[static_cast<std::size_t>(other)];
    }
};

struct ParameterSpec {
    std::string name;  // unique, "layers.0.attention.query.weight"
    Shape shape;       // global
    InitKind init = InitKind::normal;
    float deviation = 0.02F;   // standard deviation of InitKind::normal
    bool weight_decay = true;  // norms and biases: false
    Cut cut = {};
};
// Where the elements that `rank` holds lie in the whole parameter: row r, column c of its part, itself [rows, columns],
// is element first + r stride + c.
struct Placement {
    std::int64_t rows = 1, columns = 1, stride = 1, first = 0;
};
Placement placement_on(ParameterSpec const& spec, int rank);
// The first rank that holds what `rank` holds.
int first_holder(Cut const& cut, int rank);
// Elements of a part, counted from its first, that are among `elements` of the whole parameter; these are whole strides
// where the part has several rows.
Range held_among(Placement const& place, Range elements);
// Copies elements of a part to where they lie in `whole`, which begins at element `begin` of the parameter, or back.
void copy_to_whole(float* whole, std::int64_t begin, Placement const& place, Range part, float const* values);
void copy_from_whole(float* values, Placement const& place, Range part, float const* whole, std::int64_t begin);
// Of what `rank` holds.
Shape shape_on(ParameterSpec const& spec, int rank);

struct Parameter {
    ParameterSpec spec;
    std::int64_t offset = 0;  // of the first element in the flat vector; a multiple of 64
    Shape shape;              // of what this rank holds
};

// For code that takes either.
inline ParameterSpec const& spec_of(Parameter const& parameter) { return parameter.spec; }
inline ParameterSpec const& spec_of(ParameterSpec const& spec) { return spec; }

// 128 bits; sums wrap around.
struct Checksum {
    std::uint64_t low = 0, high = 0;
    Checksum& operator+=(Checksum const& other) {
        low += other.low;
        high += other.high;
        return *this;
    }
};

class ParameterSet {
  public:
    // The flat vector is cut into blocks of this many elements; shards are whole blocks, and so are the units of the
    // gradient norm. Part of the determinism contract.
    static constexpr std::int64_t block_elements = 4096;

    // What `rank` of the `ranks` of a tensor axis holds. Offsets and the flat size are the same on all of them: where
    // parts differ in size, there is room for the largest. Of the flat vector only shard `part` of `parts` is kept.
    ParameterSet(Arena& arena, std::vector<ParameterSpec> specs, int rank = 0, int ranks = 1, int part = 0,
                 int parts = 1);

    std::span<Parameter const> parameters() const { return parameters_; }
    std::int64_t flat_size() const { return flat_size_; }          // padded to whole blocks; padding stays zero
    std::int64_t element_count() const { return element_count_; }  // of the whole model, without padding
    // Elements of the flat vector that each of `parts` ranks of the data axis owns, in rank order: whole blocks.
    std::vector<Range> shards(std::int64_t parts) const;
    // Elements of the flat vector whose values are here.
    Range held() const { return held_; }
    bool is_whole() const { return parts_ == 1; }  // rather than one of several shards
    int rank() const { return rank_; }             // of the tensor axis
    int ranks() const { return ranks_; }
    Parameter const& find(std::string_view name) const;  // unknown name: our own bug
    std::int64_t index_of(std::string_view name) const;  // -1: unknown
    TensorView values() const { return values_; }        // f32, of held()
    // Of these elements of the flat vector, all held.
    TensorView values_of(Range elements) const {
        return values_.view().rows(elements.begin - held_.begin, elements.end - held_.begin);
    }
    // Where the vector is whole.
    TensorView value(std::string_view name) const { return slice(values_, find(name)); }
    // The part of `flat` (any buffer of flat_size elements, e.g. gradients) that belongs to a parameter, in its shape.
    static TensorView slice(TensorView flat, Parameter const& parameter);
    // Fills values() from the seed: key by the name's hash, counter by the global element index.
    void initialise(std::uint64_t seed, std::int64_t threads = 1);
    // A sum over those of the elements, all held, that this rank is the first of the tensor axis to hold, of a hash of
    // name, place in the whole parameter and bits: the sum over the parts of all ranks, in any order, says what the
    // parameters are.
    Checksum checksum(Range elements) const;
    Device& device() const { return *device_; }  // that the values lie on

  private:
    Device* device_;
    int rank_;
    int ranks_;
    std::vector<Parameter> parameters_;
    std::int64_t flat_size_ = 0;
    std::int64_t element_count_ = 0;
    int parts_;
    Range held_;
    Tensor values_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "tensor/parameter_set.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "base/philox.h"

namespace selvage {
namespace {

constexpr std::int64_t alignment = 64;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// Box-Muller on two 32-bit words: one normal number per element.
float normal(PhiloxCounter const& words) {
    double const u = (static_cast<double>(words[0]) + 1) * 0x1.0p-32;
    double const v = static_cast<double>(words[1]) * 0x1.0p-32;
    return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

}  // namespace

ParameterSet::ParameterSet(Arena& arena, std::vector<ParameterSpec> specs) {
    for (ParameterSpec& spec : specs) {
        SELVAGE_CHECK(index_of(spec.name) < 0, "parameter {} twice", spec.name);
        std::int64_t const elements = spec.shape.elements();
        parameters_.push_back({std::move(spec), flat_size_});
        flat_size_ = round_up(flat_size_ + elements, alignment);
        element_count_ += elements;
    }
    flat_size_ = round_up(flat_size_, block_elements);
    values_ = Tensor(arena, "parameters", DType::f32, {flat_size_});
}

std::int64_t ParameterSet::index_of(std::string_view name) const {
    for (std::size_t i = 0; i < parameters_.size(); ++i)
        if (parameters_[i].spec.name == name) return static_cast<std::int64_t>(i);
    return -1;
}

Parameter const& ParameterSet::find(std::string_view name) const {
    std::int64_t const index = index_of(name);
    SELVAGE_CHECK(index >= 0, "no parameter {}", name);
    return parameters_[static_cast<std::size_t>(index)];
}

TensorView ParameterSet::slice(TensorView flat, Parameter const& parameter) {
    std::int64_t const elements = parameter.spec.shape.elements();
    return flat.rows(parameter.offset, parameter.offset + elements).reshape(parameter.spec.shape);
}

void ParameterSet::initialise(std::uint64_t seed) {
    for (Parameter const& parameter : parameters_) {
        TensorView const view = slice(values_, parameter);
        float* const data = view.as<float>();
        ParameterSpec const& spec = parameter.spec;
        if (spec.init != InitKind::normal) {
            float const value = spec.init == InitKind::ones ? 1.0F : 0.0F;
            for (std::int64_t i = 0; i < view.elements(); ++i) data[i] = value;
            continue;
        }
        Random const random(seed ^ name_hash(spec.name.data(), spec.name.size()), Purpose::initialise);
        for (std::int64_t i = 0; i < view.elements(); ++i) {
            auto const index = static_cast<std::uint64_t>(i);
            data[i] =
                spec.deviation *
                normal(random.words({static_cast<std::uint32_t>(index >> 32), static_cast<std::uint32_t>(index)}));
        }
    }
}

}  // namespace selvage

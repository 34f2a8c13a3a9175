// SPDX-License-Identifier: Apache-2.0
#include "huggingface/weights.h"

#include <algorithm>
#include <array>

namespace selvage::huggingface {
namespace {

struct Name {
    std::string generic;  // with * for the layer
    std::string layer;
    std::string suffix;  // ".weight"
};

Name split(std::string const& name) {
    std::size_t const dot = name.rfind('.');
    Name out{name.substr(0, dot), "", name.substr(dot)};
    constexpr std::string_view prefix = "layers.";
    if (!out.generic.starts_with(prefix)) return out;
    std::size_t const end = out.generic.find('.', prefix.size());
    out.layer = out.generic.substr(prefix.size(), end - prefix.size());
    out.generic.replace(prefix.size(), out.layer.size(), "*");
    return out;
}

}  // namespace

Source source_of(Family const& family, ModelConfig const& model, ParameterSpec const& parameter) {
    Name const name = split(parameter.name);
    Source source;
    source.tensor = theirs(family, name.generic);
    if (std::size_t const star = source.tensor.find('*'); star != std::string::npos)
        source.tensor.replace(star, 1, name.layer);
    source.tensor += name.suffix;
    source.block = source.stride = std::max<std::int64_t>(1, rows_of(parameter));
    if (!family.fused_query_key_value) return source;
    constexpr std::array parts = {"attention.query", "attention.key", "attention.value"};
    auto const part =
        std::find_if(parts.begin(), parts.end(), [&](char const* p) { return name.generic.ends_with(p); });
    if (part == parts.end()) return source;
    source.first = (part - parts.begin()) * model.head_size;
    source.block = model.head_size;
    source.stride = 3 * model.head_size;
    return source;
}

std::vector<io::StoredTensor> tensors_of(Family const& family, ModelConfig const& model,
                                         std::vector<ParameterSpec> const& parameters) {
    std::vector<io::StoredTensor> tensors;
    for (ParameterSpec const& parameter : parameters) {
        Source const source = source_of(family, model, parameter);
        auto const there = std::find_if(tensors.begin(), tensors.end(),
                                        [&](io::StoredTensor const& tensor) { return tensor.name == source.tensor; });
        if (there != tensors.end()) {
            there->dims[0] += rows_of(parameter);
            continue;
        }
        io::StoredTensor tensor;
        tensor.name = source.tensor;
        for (int i = 0; i < parameter.shape.rank(); ++i) tensor.dims.push_back(parameter.shape[i]);
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

bool is_left_over(std::string_view tensor) {
    return tensor.ends_with(".rotary_emb.inv_freq") || tensor.ends_with(".attention.bias") ||
           tensor.ends_with(".attention.masked_bias");
}

std::int64_t rows_of(ParameterSpec const& parameter) { return parameter.shape.rank() > 0 ? parameter.shape[0] : 1; }

std::int64_t row_elements(ParameterSpec const& parameter) {
    return parameter.shape.elements() / std::max<std::int64_t>(1, rows_of(parameter));
}

}  // namespace selvage::huggingface

// SPDX-License-Identifier: Apache-2.0
#include "model/model_weights.h"

#include <cmath>

#include "model/model.h"
#include "model/tensor_parts.h"

namespace selvage {
namespace {

std::string layer_prefix(std::int64_t layer) { return fmt::format("layers.{}.", layer); }

class SpecList {
  public:
    void matrix(std::string name, std::int64_t out, std::int64_t in, float deviation, Cut cut) {
        specs_.push_back({std::move(name), Shape{out, in}, InitKind::normal, deviation, true, std::move(cut)});
    }
    // Cut by outputs: the bias goes with them.
    void linear(std::string const& name, std::int64_t out, std::int64_t in, bool bias, float deviation,
                std::vector<Range> const& outputs) {
        matrix(name + ".weight", out, in, deviation, {0, outputs});
        if (bias) specs_.push_back({name + ".bias", Shape{out}, InitKind::zeros, 0, false, {0, outputs}});
    }
    // Cut by inputs: the bias is added to the sum over the ranks.
    void linear_of_parts(std::string const& name, std::int64_t out, std::int64_t in, bool bias, float deviation,
                         std::vector<Range> const& inputs) {
        matrix(name + ".weight", out, in, deviation, {1, inputs});
        if (bias) specs_.push_back({name + ".bias", Shape{out}, InitKind::zeros, 0, false});
    }
    void norm_weight(std::string const& name, std::int64_t size, ModelConfig const& config) {
        InitKind const one = config.norm_offset ? InitKind::zeros : InitKind::ones;
        specs_.push_back({name + ".weight", Shape{size}, one, 0, false});
    }
    void norm(std::string const& name, ModelConfig const& config) {
        norm_weight(name, config.hidden, config);
        if (config.norm == NormKind::layernorm)
            specs_.push_back({name + ".bias", Shape{config.hidden}, InitKind::zeros, 0, false});
    }
    std::vector<ParameterSpec> take() { return std::move(specs_); }

  private:
    std::vector<ParameterSpec> specs_;
};

// The weights by name.
struct Finder {
    ParameterSet const& parameters;
    ModelWeights::ValueOf const& value_of;

    Weight weight(std::string const& name) const {
        std::int64_t const index = parameters.index_of(name);
        if (index < 0) return {};
        Parameter const& parameter = parameters.parameters()[static_cast<std::size_t>(index)];
        return {value_of(parameter), &parameter};
    }
    Norm norm(std::string const& name) const { return {weight(name + ".weight"), weight(name + ".bias")}; }
    Linear linear(std::string const& name) const { return {weight(name + ".weight"), weight(name + ".bias"), {}}; }
};

}  // namespace

std::vector<ParameterSpec> parameter_specs(ModelConfig const& config, int tensor_ranks) {
    // Normal(0, 0.02) and the residual projections' scale are GPT-2's (Radford et al. 2019).
    float const deviation = 0.02F;
    auto const residual_deviation = static_cast<float>(0.02 / std::sqrt(2.0 * static_cast<double>(config.layers)));
    std::int64_t const query_size = config.heads * config.head_size;
    std::int64_t const kv_size = config.kv_heads * config.head_size;
    TensorParts const parts = tensor_parts(config, tensor_ranks);
    SpecList list;
    list.matrix("embedding.weight", config.vocabulary, config.hidden, deviation, {0, parts.vocabulary});
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
        std::string const prefix = layer_prefix(layer);
        list.norm(prefix + "attention_norm", config);
        list.linear(prefix + "attention.query", query_size, config.hidden, config.attention_bias, deviation,
                    parts.query);
        list.linear(prefix + "attention.key", kv_size, config.hidden, config.attention_bias, deviation, parts.key);
        list.linear(prefix + "attention.value", kv_size, config.hidden, config.attention_bias, deviation, parts.key);
        if (config.query_key_norm) {
            list.norm_weight(prefix + "attention.query_norm", config.head_size, config);
            list.norm_weight(prefix + "attention.key_norm", config.head_size, config);
        }
        list.linear_of_parts(prefix + "attention.output", config.hidden, query_size, config.output_bias,
                             residual_deviation, parts.query);
        if (config.post_norm) list.norm(prefix + "attention_post_norm", config);
        list.norm(prefix + "mlp_norm", config);
        if (gated(config))
            list.linear(prefix + "mlp.gate", config.ffn, config.hidden, config.mlp_bias, deviation, parts.ffn);
        list.linear(prefix + "mlp.up", config.ffn, config.hidden, config.mlp_bias, deviation, parts.ffn);
        list.linear_of_parts(prefix + "mlp.down", config.hidden, config.ffn, config.mlp_bias, residual_deviation,
                             parts.ffn);
        if (config.post_norm) list.norm(prefix + "mlp_post_norm", config);
    }
    list.norm("final_norm", config);
    if (!config.tied) list.matrix("output.weight", config.vocabulary, config.hidden, deviation, {0, parts.vocabulary});
    return list.take();
}

ModelWeights::ModelWeights(ModelConfig const& config, ParameterSet const& parameters, ValueOf const& value_of) {
    Finder const find{parameters, value_of};
    embedding = find.weight("embedding.weight");
    for (std::int64_t index = 0; index < config.layers; ++index) {
        std::string const prefix = layer_prefix(index);
        LayerWeights layer;
        layer.attention_norm = find.norm(prefix + "attention_norm");
        layer.query = find.linear(prefix + "attention.query");
        layer.key = find.linear(prefix + "attention.key");
        layer.value = find.linear(prefix + "attention.value");
        layer.query_norm = find.weight(prefix + "attention.query_norm.weight");
        layer.key_norm = find.weight(prefix + "attention.key_norm.weight");
        layer.attention_post_norm = find.norm(prefix + "attention_post_norm");
        layer.output = find.linear(prefix + "attention.output");
        layer.mlp_norm = find.norm(prefix + "mlp_norm");
        layer.mlp_post_norm = find.norm(prefix + "mlp_post_norm");
        layer.gate = find.linear(prefix + "mlp.gate");
        layer.up = find.linear(prefix + "mlp.up");
        layer.down = find.linear(prefix + "mlp.down");
        layers.push_back(std::move(layer));
    }
    final_norm = find.norm("final_norm");
    output.weight = config.tied ? embedding : find.weight("output.weight");
}

std::vector<Linear*> LayerWeights::matrices() {
    std::vector<Linear*> all = {&query, &key, &value, &output, &gate, &up, &down};
    std::erase_if(all, [](Linear const* linear) { return linear->weight.parameter == nullptr; });
    return all;
}

std::vector<Linear*> ModelWeights::matrices() {
    std::vector<Linear*> all;
    for (LayerWeights& layer : layers)
        for (Linear* const linear : layer.matrices()) all.push_back(linear);
    all.push_back(&output);
    return all;
}

void Linear::forward(TensorView out, TensorView in, TensorView added, Stream& stream) const {
    if (packed) return kernels::linear_forward(out, in, *packed, added, stream);
    SELVAGE_CHECK(in.dtype() == DType::f32, "a forward pass in {} without packed weights", name_of(in.dtype()));
    kernels::linear_forward(out, in, weight.value, added, stream);
}

void Linear::backward_input(TensorView d_in, TensorView d_out, kernels::Accumulate accumulate, Stream& stream) const {
    if (d_out.dtype() == DType::f32)
        return kernels::linear_backward_input(d_in, d_out, weight.value, accumulate, stream);
    SELVAGE_CHECK(packed, "a backward pass in {} without packed weights", name_of(d_out.dtype()));
    kernels::linear_backward_input(d_in, d_out, *packed, accumulate, stream);
}

}  // namespace selvage

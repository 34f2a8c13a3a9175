// SPDX-License-Identifier: Apache-2.0
#pragma once
// The parameters as the layers use them: views of values that lie elsewhere.
#include <functional>
#include <memory>
#include <vector>

#include "kernels/gemm.h"
#include "model/model_config.h"
#include "tensor/parameter_set.h"

namespace selvage {

// One named parameter: its value, and where it lies in the flat vector.
struct Weight {
    TensorView value;
    Parameter const* parameter = nullptr;  // nullptr: the model has none of this kind
    // Its part of a flat vector of gradients; empty where there is no parameter.
    TensorView gradient(TensorView gradients) const {
        return parameter == nullptr ? TensorView{} : ParameterSet::slice(gradients, *parameter);
    }
};

struct Norm {
    Weight weight, bias;  // bias of LayerNorm only
};

struct Linear {
    Weight weight, bias;
    std::shared_ptr<kernels::PackedWeight> packed;  // may be null; see Model::pack
    void forward(TensorView out, TensorView in, Stream& stream) const { forward(out, in, bias.value, stream); }
    void forward_without_bias(TensorView out, TensorView in, Stream& stream) const { forward(out, in, {}, stream); }
    void backward_input(TensorView d_in, TensorView d_out, kernels::Accumulate accumulate, Stream& stream) const;
    kernels::WeightGradient gradient(TensorView gradients, TensorView d_out) const {
        return {weight.gradient(gradients), bias.gradient(gradients), d_out};
    }

  private:
    void forward(TensorView out, TensorView in, TensorView added, Stream& stream) const;
};

struct LayerWeights {
    Norm attention_norm, mlp_norm;
    Norm attention_post_norm, mlp_post_norm;  // empty, as the next two, where the model has none
    Weight query_norm, key_norm;              // [head_size]
    Linear query, key, value, output;
    Linear gate, up, down;            // gate is empty for plain GELU
    std::vector<Linear*> matrices();  // those that there are, always in the same order
};

struct ModelWeights {
    // value_of: where the value of a parameter lies.
    using ValueOf = std::function<TensorView(Parameter const& parameter)>;
    ModelWeights(ModelConfig const& config, ParameterSet const& parameters, ValueOf const& value_of);
    std::vector<Linear*> matrices();  // all that products read, the output projection last

    Weight embedding;
    std::vector<LayerWeights> layers;
    Norm final_norm;
    Linear output;  // tied: of the embedding table
};

}  // namespace selvage

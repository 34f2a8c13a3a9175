// SPDX-License-Identifier: Apache-2.0
// Training with a tensor axis: near to one rank's losses and gradients, and the same bits along the data axis.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "train/job.h"

namespace selvage {
namespace {

using test::Job;

ModelConfig llama_like() {
    ModelConfig config = test::tiny_model();
    config.heads = 8;
    config.kv_heads = 2;
    config.head_size = 8;
    config.ffn = 88;
    config.vocabulary = 200;
    return config;
}

// LayerNorm, every bias, untied, parallel residual, plain GELU.
ModelConfig pythia_like() {
    ModelConfig config = llama_like();
    config.kv_heads = 8;
    config.norm = NormKind::layernorm;
    config.activation = ActivationKind::gelu;
    config.attention_bias = config.output_bias = config.mlp_bias = true;
    config.parallel_residual = true;
    config.tied = false;
    return config;
}

ModelConfig with_output_bias() {
    ModelConfig config = llama_like();
    config.output_bias = config.mlp_bias = true;
    config.vocabulary = 4000;  // whole blocks
    return config;
}

struct Case {
    char const* name;
    ModelConfig config;
    DType compute;
};

// Every tensor-axis size that this many ranks allow.
std::vector<int> tensor_sizes(int ranks) {
    std::vector<int> sizes;
    for (int size = 1; size <= std::min(ranks, 8); size *= 2)
        if (ranks % size == 0) sizes.push_back(size);
    return sizes;
}

GridOptions grid_of(int tensor) {
    GridOptions grid;
    grid.tensor = tensor;
    return grid;
}

// Several biases and norms that are not their initial zeros and ones.
void stir(Model& model) {
    Random const random(3, Purpose::test);
    for (Parameter const& parameter : model.parameters().parameters()) {
        if (parameter.spec.weight_decay) continue;
        Placement const place = placement_on(parameter.spec, model.parameters().rank());
        float* const values = model.parameters().value(parameter.spec.name).as<float>();
        for (std::int64_t i = 0; i < parameter.shape.elements(); ++i)
            values[i] +=
                static_cast<float>(0.2 * random.uniform({static_cast<std::uint32_t>(parameter.spec.name.size()),
                                                         static_cast<std::uint32_t>(place.first + i)}));
    }
}

TrainOptions training() {
    TrainOptions options = test::tiny_training();
    options.optimizer.clip = 0;
    return options;
}

class TensorAxisTraining : public testing::TestWithParam<Case> {
  protected:
    // A step of both must be near: relative to the sums' magnitudes within a unit of rounding for each addition of the
    // longest sum.
    double tolerance() const {
        auto const& [name, config, compute] = GetParam();
        auto const longest = static_cast<double>(config.vocabulary + config.ffn + config.hidden);
        double const unit = compute == DType::bf16 ? 0x1p-9 : 0x1p-24 * std::sqrt(longest);
        return unit * 8 * static_cast<double>(config.layers);
    }
    void expect_near(Job& whole, Job& split);
};

double largest_of(std::span<float const> values) {
    double largest = 0;
    for (float const value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
    return largest;
}

// First moments after one step are gradients but for a factor. A bias is measured by its matrix as well: the gradient
// of a key's bias is zero but for rounding.
void TensorAxisTraining::expect_near(Job& whole, Job& split) {
    auto const& mine = split.model().parameters();
    auto const& all = whole.model().parameters();
    TensorView const expected = whole.trainer().optimizer().first_moment();
    float const* const got = split.trainer().optimizer().first_moment().as<float>();
    Range const shard = split.trainer().optimizer().shard();
    auto const scale_of = [&](std::string const& name) {
        TensorView const moments = ParameterSet::slice(expected, all.find(name));
        return largest_of({moments.as<float>(), static_cast<std::size_t>(moments.elements())});
    };
    for (Parameter const& parameter : mine.parameters()) {
        std::string const& name = parameter.spec.name;
        std::vector<float> part(static_cast<std::size_t>(parameter.shape.elements()));
        copy_from_whole(part.data(), placement_on(parameter.spec, mine.rank()), {0, parameter.shape.elements()},
                        expected.as<float>() + all.find(name).offset, 0);
        double difference = 0;
        for (std::size_t i = 0; i < part.size(); ++i)
            if (std::int64_t const at = parameter.offset + static_cast<std::int64_t>(i); shard.contains(at))
                difference = std::max(difference, std::abs(static_cast<double>(part[i]) - got[at - shard.begin]));
        double scale = scale_of(name);
        if (name.ends_with(".bias")) scale = std::max(scale, scale_of(name.substr(0, name.size() - 4) + "weight"));
        EXPECT_LE(difference, tolerance() * scale) << name;
    }
}

TEST_P(TensorAxisTraining, LossAndGradientsAreThoseOfOneRank) {
    auto const world = test::world();
    auto const rows = test::woven_rows(40, 50, 97);
    auto const& [name, config, compute] = GetParam();
    auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(training()), 3, 1, 1, 1)[0];
    Job whole(world->split(world->rank(), 0), training(), {}, config, compute);
    stir(whole.model());
    auto const expected = whole.trainer().step(rows, plan, 4);
    for (int const tensor : tensor_sizes(world->size())) {
        SCOPED_TRACE("tensor " + std::to_string(tensor));
        Job split(test::world(), training(), grid_of(tensor), config, compute);
        stir(split.model());
        auto const result = split.trainer().step(rows, plan, 4);
        EXPECT_EQ(result.target_tokens, expected.target_tokens);
        EXPECT_NEAR(result.loss, expected.loss, tolerance() * expected.loss);
        EXPECT_NEAR(result.grad_norm, expected.grad_norm, tolerance() * expected.grad_norm);
        expect_near(whole, split);
    }
}

TEST_P(TensorAxisTraining, TheDataAxisDoesNotMatter) {
    auto const world = test::world();
    auto const rows = test::woven_rows(40, 50, 97);
    auto const& [name, config, compute] = GetParam();
    for (int const tensor : tensor_sizes(world->size())) {
        SCOPED_TRACE("tensor " + std::to_string(tensor));
        TrainOptions sharded = training(), in_parts = training();
        sharded.shard = Shard::gradients;
        in_parts.shard = Shard::parameters;
        Job together(test::world(), training(), grid_of(tensor), config, compute);
        Job in_shards(test::world(), sharded, grid_of(tensor), config, compute);
        Job gathered(test::world(), in_parts, grid_of(tensor), config, compute);
        Job alone(world->split(world->rank() / tensor, world->rank()), training(), grid_of(tensor), config, compute);
        for (StepPlan const& plan : plan_steps(test::lengths_of(rows), test::packing_of(training()), 3, 1, 1, 3)) {
            auto const a = together.trainer().step(rows, plan, 4);
            auto const b = alone.trainer().step(rows, plan, 4);
            EXPECT_EQ(a.loss, b.loss);
            EXPECT_EQ(a.grad_norm, b.grad_norm);
            ASSERT_TRUE(together.has_values(alone.copy())) << "step " << plan.step;
            EXPECT_EQ(in_shards.trainer().step(rows, plan, 4).loss, b.loss);
            ASSERT_TRUE(in_shards.has_values(alone.copy())) << "step " << plan.step;
            EXPECT_EQ(gathered.trainer().step(rows, plan, 4).loss, b.loss);
            ASSERT_TRUE(gathered.has_values(alone.copy())) << "step " << plan.step;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Models, TensorAxisTraining,
                         testing::Values(Case{"LlamaLike", llama_like(), DType::f32},
                                         Case{"PythiaLike", pythia_like(), DType::f32},
                                         Case{"OutputBias", with_output_bias(), DType::f32},
                                         Case{"LlamaLikeBf16", llama_like(), DType::bf16},
                                         Case{"PythiaLikeBf16", pythia_like(), DType::bf16},
                                         Case{"Gemma2Like", test::as_gemma2(llama_like()), DType::f32},
                                         Case{"Qwen3Like", test::as_qwen3(llama_like()), DType::f32},
                                         Case{"Gemma2LikeBf16", test::as_gemma2(llama_like()), DType::bf16},
                                         Case{"Qwen3LikeBf16", test::as_qwen3(llama_like()), DType::bf16}),
                         [](auto const& info) { return std::string(info.param.name); });

TEST(TensorAxis, RefusesGridsThatDoNotFit) {
    auto const message = [](ModelConfig const& config, int ranks) {
        try {
            parameter_specs(config, ranks);
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), ExitCode::bad_data);
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_NE(message(llama_like(), 3).find("8 heads"), std::string::npos);
    ModelConfig heads = llama_like();
    heads.kv_heads = 4;
    heads.heads = 12;
    EXPECT_NE(message(heads, 6).find("4 key-value heads"), std::string::npos);
    ModelConfig narrow = llama_like();
    narrow.ffn = 3;
    EXPECT_NE(message(narrow, 4).find("MLP"), std::string::npos);
    EXPECT_EQ(message(llama_like(), 8), "");
}

}  // namespace
}  // namespace selvage

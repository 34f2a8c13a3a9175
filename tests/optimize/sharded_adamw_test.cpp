// SPDX-License-Identifier: Apache-2.0
#include "optimize/sharded_adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/philox.h"
#include "support/test_main.h"

namespace selvage {
namespace {

constexpr std::int64_t total_steps = 30;
constexpr double weight_sum = 37;

// Odd lengths; 1-D ones without decay; enough blocks of 4096 that the order of their sums shows in the norm.
std::vector<ParameterSpec> specs() {
    return {{"table", {397, 383}, InitKind::normal, 0.02F, true}, {"norm", {83}, InitKind::ones, 0, false},
            {"weight", {71, 150}, InitKind::normal, 0.02F, true}, {"bias", {71}, InitKind::zeros, 0, false},
            {"bias2", {4097}, InitKind::normal, 0.5F, false},     {"last", {3, 5}, InitKind::normal, 1.0F, true}};
}

OptimizerOptions options() {
    OptimizerOptions out;
    out.learning_rate = 0.01;
    out.warmup_steps = 3;
    out.clip = 0.5;
    return out;
}

// The summed gradient of a step: numbers of different sizes; zero in the padding. Later steps are small, so that
// clipping is on in some and off in others.
std::vector<float> gradient_of(ParameterSet const& parameters, std::int64_t step) {
    Random const random(11, Purpose::test);
    std::vector<float> gradient(static_cast<std::size_t>(parameters.flat_size()));
    for (Parameter const& parameter : parameters.parameters()) {
        for (std::int64_t i = 0; i < parameter.spec.shape.elements(); ++i) {
            auto const at = static_cast<std::size_t>(parameter.offset + i);
            double const u = random.uniform({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(at)}) - 0.5;
            gradient[at] = static_cast<float>(std::ldexp(u, static_cast<int>(at % 5) - (step > 3 ? 6 : 0)));
        }
    }
    return gradient;
}

// One optimizer on its own grid, with what its steps need.
class Job {
  public:
    Job(std::unique_ptr<Communicator> world, OptimizerOptions const& with, std::vector<ParameterSpec> of = specs())
        : device_(make_device("cpu")),
          arena_(*device_),
          grid_(std::move(world), {}),
          parameters_(arena_, std::move(of)),
          optimizer_(arena_, grid_, parameters_, with) {
        parameters_.initialise(5);
    }
    ShardedAdamW::Result step(std::vector<float> const& whole, std::int64_t step) {
        Range const shard = optimizer_.shard();
        std::vector<float> mine(whole.begin() + shard.begin, whole.begin() + shard.end);
        return optimizer_.step(TensorView::of(mine.data(), {shard.size()}), weight_sum, step, total_steps);
    }
    ParameterSet& parameters() { return parameters_; }
    ShardedAdamW& optimizer() { return optimizer_; }
    float const* values() { return parameters_.values().as<float>(); }
    std::vector<float> copy() { return {values(), values() + parameters_.flat_size()}; }

  private:
    std::unique_ptr<Device> device_;
    Arena arena_;
    ProcessGrid grid_;
    ParameterSet parameters_;
    ShardedAdamW optimizer_;
};

bool same_bits(float const* a, float const* b, std::int64_t count) {
    return std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(float)) == 0;
}

TEST(ShardedAdamW, EqualsOneRankBitForBit) {
    auto const world = test::world();
    Job sharded(test::world(), options());
    Job alone(world->split(world->rank(), 0), options());
    for (std::int64_t step = 1; step <= 6; ++step) {
        auto const gradient = gradient_of(alone.parameters(), step);
        auto const a = sharded.step(gradient, step);
        auto const b = alone.step(gradient, step);
        ASSERT_TRUE(a.changed && b.changed);
        EXPECT_EQ(a.grad_norm, b.grad_norm) << "step " << step;
        EXPECT_EQ(a.learning_rate, b.learning_rate);
        ASSERT_TRUE(same_bits(sharded.values(), alone.values(), alone.parameters().flat_size())) << "step " << step;
        Range const shard = sharded.optimizer().shard();
        EXPECT_TRUE(same_bits(sharded.optimizer().first_moment().as<float>(),
                              alone.optimizer().first_moment().as<float>() + shard.begin, shard.size()));
        EXPECT_TRUE(same_bits(sharded.optimizer().second_moment().as<float>(),
                              alone.optimizer().second_moment().as<float>() + shard.begin, shard.size()));
    }
}

TEST(ShardedAdamW, RanksWithoutABlockTakePart) {
    auto const world = test::world();
    std::vector<ParameterSpec> const one_block = {{"only", {10}, InitKind::normal, 1, true}};
    Job sharded(test::world(), options(), one_block);
    Job alone(world->split(world->rank(), 0), options(), one_block);
    auto const gradient = gradient_of(alone.parameters(), 1);
    EXPECT_EQ(sharded.step(gradient, 1).grad_norm, alone.step(gradient, 1).grad_norm);
    EXPECT_TRUE(same_bits(sharded.values(), alone.values(), alone.parameters().flat_size()));
}

// AdamW written down in double, on all elements.
struct Plain {
    std::vector<double> values, first, second;
    explicit Plain(std::vector<float> const& start)
        : values(start.begin(), start.end()), first(start.size()), second(start.size()) {}

    double step(std::vector<float> const& gradient, ParameterSet const& parameters, OptimizerOptions const& with,
                std::int64_t step) {
        double squares = 0;
        for (float const g : gradient) squares += static_cast<double>(g) * g;
        double const norm = std::sqrt(squares) / weight_sum;
        double const scale = (norm > with.clip ? with.clip / norm : 1) / weight_sum;
        double const rate = learning_rate_at(with, step, total_steps);
        for (Parameter const& parameter : parameters.parameters()) {
            double const decay = parameter.spec.weight_decay ? with.weight_decay : 0;
            for (std::int64_t i = 0; i < parameter.spec.shape.elements(); ++i) {
                auto const at = static_cast<std::size_t>(parameter.offset + i);
                double const g = gradient[at] * scale;
                first[at] = with.beta1 * first[at] + (1 - with.beta1) * g;
                second[at] = with.beta2 * second[at] + (1 - with.beta2) * g * g;
                double const m = first[at] / (1 - std::pow(with.beta1, step));
                double const v = second[at] / (1 - std::pow(with.beta2, step));
                values[at] -= rate * (m / (std::sqrt(v) + with.epsilon) + decay * values[at]);
            }
        }
        return norm;
    }
};

TEST(ShardedAdamW, FollowsAPlainLoopInDouble) {
    Job run(test::world(), options());
    Plain plain(run.copy());
    int clipped = 0, free = 0;
    for (std::int64_t step = 1; step <= 8; ++step) {
        auto const gradient = gradient_of(run.parameters(), step);
        double const norm = plain.step(gradient, run.parameters(), options(), step);
        auto const result = run.step(gradient, step);
        (norm > options().clip ? clipped : free) += 1;
        EXPECT_NEAR(result.grad_norm, norm, 1e-12 * norm);
        // A step moves a value by about the rate (0.01), with the relative error of some ten fp32 operations and of the
        // constants' rounding, 20 in all; the value itself is rounded once a step.
        double const rounding = 0x1p-24 * static_cast<double>(step);
        float const* const values = run.values();
        for (std::size_t i = 0; i < plain.values.size(); ++i)
            ASSERT_NEAR(values[i], plain.values[i], rounding * (std::abs(plain.values[i]) + 20 * 0.01))
                << "element " << i << " step " << step;
    }
    EXPECT_GT(clipped, 0);
    EXPECT_GT(free, 0);
}

TEST(ShardedAdamW, DecayLeavesNormsAndBiasesAlone) {
    Job run(test::world(), options());
    auto const before = run.copy();
    std::vector<float> const zero(before.size());
    ASSERT_TRUE(run.step(zero, 10).changed);
    float const* const values = run.values();
    for (Parameter const& parameter : run.parameters().parameters()) {
        for (std::int64_t i = 0; i < parameter.spec.shape.elements(); ++i) {
            auto const at = static_cast<std::size_t>(parameter.offset + i);
            bool const changes = parameter.spec.weight_decay && before[at] != 0;
            ASSERT_EQ(std::abs(values[at]) < std::abs(before[at]), changes) << parameter.spec.name;
            ASSERT_EQ(values[at] == before[at], !changes) << parameter.spec.name;
        }
    }
}

TEST(ShardedAdamW, PaddingStaysZero) {
    Job run(test::world(), options());
    std::vector<bool> used(static_cast<std::size_t>(run.parameters().flat_size()));
    for (Parameter const& parameter : run.parameters().parameters())
        for (std::int64_t i = 0; i < parameter.spec.shape.elements(); ++i)
            used[static_cast<std::size_t>(parameter.offset + i)] = true;
    for (std::int64_t step = 1; step <= 3; ++step) run.step(gradient_of(run.parameters(), step), step);
    for (std::size_t i = 0; i < used.size(); ++i) ASSERT_TRUE(used[i] || run.values()[i] == 0) << "element " << i;
}

TEST(ShardedAdamW, WhatIsNotFiniteChangesNothingAnywhere) {
    Job run(test::world(), options());
    ASSERT_TRUE(run.step(gradient_of(run.parameters(), 1), 1).changed);
    auto const before = run.copy();
    Range const shard = run.optimizer().shard();
    float const* const moment = run.optimizer().first_moment().as<float>();
    std::vector<float> const moments(moment, moment + shard.size());
    for (float const bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        // One element, that one rank owns: all ranks must see it.
        auto gradient = gradient_of(run.parameters(), 2);
        gradient[5] = bad;
        EXPECT_FALSE(run.step(gradient, 2).changed);
        EXPECT_TRUE(same_bits(run.values(), before.data(), run.parameters().flat_size()));
        EXPECT_TRUE(same_bits(moment, moments.data(), shard.size()));
    }
    EXPECT_TRUE(run.step(gradient_of(run.parameters(), 2), 2).changed);
}

TEST(ShardedAdamW, ShardsAreWholeBlocksThatCoverTheVector) {
    Job run(test::world(), options());
    std::int64_t at = 0;
    for (Range const shard : run.optimizer().shards()) {
        EXPECT_EQ(shard.begin, at);
        EXPECT_EQ(shard.size() % ParameterSet::block_elements, 0);
        at = shard.end;
    }
    EXPECT_EQ(at, run.parameters().flat_size());
}

}  // namespace
}  // namespace selvage

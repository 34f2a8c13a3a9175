// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "kernels/softmax.h"
#include "train/job.h"

namespace selvage {
namespace {

using test::Job;

// A step that takes the given rows in one packed row of the first lane.
StepPlan plan_of(std::vector<std::int64_t> indices, std::int64_t lanes) {
    StepPlan plan;
    plan.step = 1;
    plan.lanes.resize(static_cast<std::size_t>(lanes));
    plan.lanes[0].push_back({std::move(indices)});
    return plan;
}

TEST(Trainer, MicroBatchesAddUpToOneBatch) {
    auto const rows = test::woven_rows(60, 50, 97);
    TrainOptions small = test::tiny_training();
    small.optimizer.clip = 0;
    TrainOptions big = small;
    big.lanes = 1;
    big.micro_batch_tokens = big.batch_tokens;
    auto const world = test::world();
    Job several(world->split(world->rank(), 0), small);
    Job one(world->split(world->rank(), 0), big);
    auto const a =
        several.trainer().step(rows, plan_steps(test::lengths_of(rows), test::packing_of(small), 3, 1, 1, 1)[0], 10);
    auto const b =
        one.trainer().step(rows, plan_steps(test::lengths_of(rows), test::packing_of(big), 3, 1, 1, 1)[0], 10);
    EXPECT_EQ(a.target_tokens, b.target_tokens);
    EXPECT_EQ(a.input_tokens, b.input_tokens);
    EXPECT_NEAR(a.loss, b.loss, 1e-13 * b.loss);  // the same numbers added in fp64
    // After the first step the first moment is the gradient. Sums of n numbers of either sign that are added in another
    // order differ by up to n roundings of the sum.
    double const rounding = static_cast<double>(b.input_tokens) * 0x1p-24;
    EXPECT_NEAR(a.grad_norm, b.grad_norm, rounding * b.grad_norm);
    float const* const x = several.trainer().optimizer().first_moment().as<float>();
    float const* const y = one.trainer().optimizer().first_moment().as<float>();
    double difference = 0, size = 0;
    for (std::int64_t i = 0; i < one.model().parameters().flat_size(); ++i) {
        difference += std::pow(static_cast<double>(x[i]) - y[i], 2);
        size += std::pow(static_cast<double>(y[i]), 2);
    }
    EXPECT_GT(size, 0);
    EXPECT_LT(std::sqrt(difference / size), rounding);
}

// log p of every target of the rows, packed one after the other.
std::vector<float> log_probabilities(Job& job, std::vector<Woven> const& rows,
                                     std::vector<std::int64_t> const& packed) {
    std::vector<std::int32_t> tokens, targets;
    std::vector<std::int64_t> lengths;
    for (std::int64_t const index : packed) {
        Woven const& row = rows[static_cast<std::size_t>(index)];
        tokens.insert(tokens.end(), row.input_tokens.begin(), row.input_tokens.end());
        targets.insert(targets.end(), row.target_tokens.begin(), row.target_tokens.end());
        lengths.push_back(static_cast<std::int64_t>(row.input_tokens.size()));
    }
    auto const count = static_cast<std::int64_t>(tokens.size());
    PackedSequences const sequences(tokens, lengths);
    KvCache cache(job.arena(), job.model(), sequences.pages());
    Workspace workspace(job.arena(), job.model(), count, Keep::nothing);
    TensorView const hidden = job.model().forward(sequences.batch(), cache, workspace);
    std::vector<float> logits(static_cast<std::size_t>(count * job.model().config().vocabulary));
    std::vector<float> sums(tokens.size()), out(tokens.size());
    TensorView const all = TensorView::of(logits.data(), {count, job.model().config().vocabulary});
    job.model().logits(all, hidden);
    Stream stream(DeviceKind::cpu);
    kernels::log_sum_exp(TensorView::of(sums.data(), {count}), all, stream);
    kernels::target_log_probability(TensorView::of(out.data(), {count}), all, TensorView::of(sums.data(), {count}),
                                    TensorView::of(targets.data(), {count}), stream);
    return out;
}

TEST(Trainer, RowsOfAPackedRowDoNotSeeEachOther) {
    auto const rows = test::woven_rows(4, 50, 97);
    TrainOptions options = test::tiny_training();
    options.micro_batch_tokens = 256;
    options.optimizer.learning_rate = 0;  // so that every step starts from the same parameters
    Job job(test::world(), options);
    double weighted = 0, weights = 0;
    std::vector<float> alone;
    for (std::int64_t i = 0; i < 4; ++i) {
        auto const result = job.trainer().step(rows, plan_of({i}, options.lanes), 10);
        double weight = 0;
        for (float const w : rows[static_cast<std::size_t>(i)].loss_weight) weight += w;
        weighted += weight * result.loss;
        weights += weight;
        auto const part = log_probabilities(job, rows, {i});
        alone.insert(alone.end(), part.begin(), part.end());
    }
    auto const packed = job.trainer().step(rows, plan_of({0, 1, 2, 3}, options.lanes), 10);
    EXPECT_NEAR(packed.loss, weighted / weights, 1e-13 * packed.loss);
    EXPECT_EQ(log_probabilities(job, rows, {0, 1, 2, 3}), alone);
    // The loss is what the log-probabilities say.
    double expected = 0;
    std::size_t at = 0;
    for (Woven const& row : rows)
        for (float const weight : row.loss_weight) expected -= static_cast<double>(weight) * alone[at++];
    EXPECT_NEAR(packed.loss, expected / weights, 1e-13 * packed.loss);
}

TEST(Trainer, PackedWeightsOfAGenerationSweepDoNotGoStale) {
    auto const rows = test::woven_rows(20, 50, 97);
    Job plain(test::world(), test::tiny_training());
    Job packed(test::world(), test::tiny_training());
    packed.model().pack(packed.arena());
    for (StepPlan const& plan :
         plan_steps(test::lengths_of(rows), test::packing_of(test::tiny_training()), 3, 1, 1, 2)) {
        EXPECT_EQ(packed.trainer().step(rows, plan, 10).loss, plain.trainer().step(rows, plan, 10).loss);
    }
    EXPECT_EQ(log_probabilities(packed, rows, {0, 1}), log_probabilities(plain, rows, {0, 1}));
}

TEST(Trainer, CountsTokens) {
    auto const rows = test::woven_rows(10, 50, 97);
    Job job(test::world(), test::tiny_training());
    auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(test::tiny_training()), 3, 1, 1, 1)[0];
    std::int64_t inputs = 0, targets = 0;
    for (auto const& lane : plan.lanes)
        for (auto const& packed : lane)
            for (std::int64_t const index : packed.indices) {
                Woven const& row = rows[static_cast<std::size_t>(index)];
                inputs += static_cast<std::int64_t>(row.input_tokens.size());
                targets +=
                    std::count_if(row.loss_weight.begin(), row.loss_weight.end(), [](float w) { return w != 0; });
            }
    auto const result = job.trainer().step(rows, plan, 10);
    EXPECT_EQ(result.input_tokens, inputs);
    EXPECT_EQ(result.target_tokens, targets);
}

TEST(Trainer, ManyVeryShortRows) {
    // 64 rows of one token need 64 pages, more than were made for usual rows.
    auto const rows = test::woven_rows(64, 1, 97);
    Job job(test::world(), test::tiny_training());
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < 64; ++i) all.push_back(i);
    auto const result = job.trainer().step(rows, plan_of(all, 8), 10);
    EXPECT_TRUE(result.finite);
    EXPECT_EQ(result.input_tokens, 64);
}

TEST(Trainer, LossGoesDownOnAFewRows) {
    auto const rows = test::woven_rows(6, 30, 97);
    Job job(test::world(), test::tiny_training());
    auto const plans = plan_steps(test::lengths_of(rows), test::packing_of(test::tiny_training()), 3, 1, 1, 40);
    double first = 0, last = 0;
    for (StepPlan const& plan : plans) {
        auto const result = job.trainer().step(rows, plan, 40);
        ASSERT_TRUE(result.finite);
        if (plan.step == 1) first = result.loss;
        last = result.loss;
    }
    EXPECT_NEAR(first, std::log(97.0), 0.5);
    EXPECT_LT(last, 0.2 * first);
}

TEST(Trainer, ALossThatIsNotFiniteChangesNothing) {
    auto const rows = test::woven_rows(20, 50, 97);
    Job job(test::world(), test::tiny_training());
    auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(test::tiny_training()), 3, 1, 1, 1)[0];
    Parameter const& parameter = job.model().parameters().parameters()[0];
    job.values()[parameter.offset] = std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t i = 0; i < parameter.spec.shape.elements(); ++i)
        job.values()[parameter.offset + i] = std::numeric_limits<float>::quiet_NaN();
    auto const before = job.copy();
    EXPECT_FALSE(job.trainer().step(rows, plan, 10).finite);
    EXPECT_TRUE(job.has_values(before));
}

TEST(Trainer, AGradientThatIsNotFiniteChangesNothing) {
    auto rows = test::woven_rows(20, 50, 97);
    Job job(test::world(), test::tiny_training());
    auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(test::tiny_training()), 3, 1, 1, 1)[0];
    auto const good = rows;
    // Beyond fp32 in the gradient of one row, one lane and one rank; the loss itself is an fp64 sum.
    std::int64_t const index = plan.lanes[0][0].indices[0];
    for (float& weight : rows[static_cast<std::size_t>(index)].loss_weight) weight = 3e38F;
    auto const before = job.copy();
    auto const result = job.trainer().step(rows, plan, 10);
    EXPECT_TRUE(std::isfinite(result.loss));
    EXPECT_FALSE(result.finite);
    EXPECT_TRUE(job.has_values(before));
    // The next step starts clean.
    EXPECT_TRUE(job.trainer().step(good, plan, 10).finite);
    EXPECT_FALSE(job.has_values(before));
}

template <class Action>
std::string message_of(Action action) {
    try {
        action();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        return error.what();
    }
    return "";
}

TEST(Trainer, WhatIsComputedAgainHasTheSameBits) {
    auto const rows = test::woven_rows(60, 50, 97);
    ModelConfig parallel = test::tiny_model();
    parallel.parallel_residual = true;
    parallel.activation = ActivationKind::gelu;
    parallel.norm = NormKind::layernorm;
    for (DType const compute : {DType::f32, DType::bf16})
        for (ModelConfig const& config :
             {test::tiny_model(), parallel, test::tiny_model("gemma2"), test::tiny_model("qwen3")}) {
            TrainOptions options = test::tiny_training();
            auto const plans = plan_steps(test::lengths_of(rows), test::packing_of(options), 3, 1, 1, 3);
            Job kept(test::world(), options, {}, config, compute);
            std::vector<std::size_t> memory = {kept.arena().in_use()};
            for (StepPlan const& plan : plans) kept.trainer().step(rows, plan, 3);
            for (Recompute const recompute : {Recompute::attention, Recompute::block}) {
                options.recompute = recompute;
                Job again(test::world(), options, {}, config, compute);
                memory.push_back(again.arena().in_use());
                for (StepPlan const& plan : plans) again.trainer().step(rows, plan, 3);
                EXPECT_TRUE(kept.has_values(again.copy())) << static_cast<int>(recompute);
            }
            EXPECT_GT(memory[0], memory[1]);
            EXPECT_GT(memory[1], memory[2]);
        }
}

TEST(Trainer, RefusesWhatDoesNotFit) {
    auto const job = [](auto change) {
        return message_of([&] {
            TrainOptions options = test::tiny_training();
            change(options);
            Job const made(test::world(), options);
        });
    };
    EXPECT_THAT(job([](TrainOptions& o) { o.lanes = 6; }), ::testing::HasSubstr("train.lanes is 6"));
    int const ranks = test::world()->size();
    if (ranks > 1) {
        auto const message = job([](TrainOptions& o) { o.lanes = 1; });
        EXPECT_THAT(message, ::testing::HasSubstr("grid.data is " + std::to_string(ranks) + " but train.lanes is 1"));
    }
}

void expect_failure_of_one_rank(Shard shard) {
    auto const world = test::world();
    auto rows = test::woven_rows(60, 50, 97);
    auto options = test::tiny_training();
    options.shard = shard;
    auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(options), 3, 1, 1, 1)[0];
    ModelConfig config = test::tiny_model();
    config.layers = 5;
    Job job(test::world(), options, {}, config);
    // The last lane alone has such a row.
    int const last_lane = static_cast<int>(options.lanes) - 1;
    int const failing = shard == Shard::optimizer ? world->size() - 1 : last_lane % world->size();
    for (std::int64_t const index : plan.lanes.back().back().indices)
        for (Token& target : rows[static_cast<std::size_t>(index)].target_tokens) target = 1000;
    try {
        job.trainer().step(rows, plan, 10);
        FAIL() << "no error on rank " << world->rank();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::internal);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("target 1000 of 97"));
        if (world->rank() != failing) {
            std::string const who = "(on rank " + std::to_string(failing) + ")";
            EXPECT_THAT(error.what(), ::testing::HasSubstr(who));
        }
    }
    world->barrier();
}

TEST(Trainer, AFailureInTheBackwardPassOfOneRankIsThrownByAll) {
    for (Shard const shard : {Shard::optimizer, Shard::gradients, Shard::parameters}) expect_failure_of_one_rank(shard);
}

TEST(Trainer, AStepWithoutLossWeightIsAnError) {
    auto rows = test::woven_rows(3, 20, 97);
    for (Woven& row : rows) std::fill(row.loss_weight.begin(), row.loss_weight.end(), 0.0F);
    Job job(test::world(), test::tiny_training());
    EXPECT_THAT(message_of([&] {
                    job.trainer().step(rows, plan_of({0, 1, 2}, 8), 10);
                }),
                ::testing::HasSubstr("no token of step 1 has loss weight"));
}

}  // namespace
}  // namespace selvage

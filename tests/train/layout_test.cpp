// SPDX-License-Identifier: Apache-2.0
// Losses, norms and parameters have the same bits however the job is laid out.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "comm/without_threads.h"
#include "train/job.h"

namespace selvage {
namespace {

using test::Job;

void expect_same(Trainer::Result const& a, Trainer::Result const& b) {
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.grad_norm, b.grad_norm);
    EXPECT_EQ(a.learning_rate, b.learning_rate);
    EXPECT_EQ(a.target_tokens, b.target_tokens);
    EXPECT_EQ(a.input_tokens, b.input_tokens);
    EXPECT_TRUE(a.updated);
    EXPECT_TRUE(b.updated);
}

// Steps on all ranks against the same steps on one rank; where one rank is all there is, with two threads.
void expect_layouts_agree(TrainOptions const& options, std::vector<Woven> const& rows, int steps,
                          DType compute = DType::f32, int layers = 2) {
    auto const world = test::world();
    ModelConfig config = test::tiny_model();
    config.layers = layers;
    Job together(test::world(), options, {}, config, compute);
    Job alone(world->split(world->rank(), 0), options, {}, config, compute);
    auto const before = alone.copy();
    for (StepPlan const& plan : plan_steps(test::lengths_of(rows), test::packing_of(options), 3, 1, 1, steps)) {
        SCOPED_TRACE("step " + std::to_string(plan.step));
        omp_set_num_threads(world->size() == 1 ? 2 : 1);
        auto const a = together.trainer().step(rows, plan, steps);
        omp_set_num_threads(1);
        auto const b = alone.trainer().step(rows, plan, steps);
        expect_same(a, b);
        ASSERT_TRUE(together.has_values(alone.copy()));
    }
    EXPECT_FALSE(alone.has_values(before));
}

TEST(Layout, OddRowsInSeveralMicroBatches) {
    expect_layouts_agree(test::tiny_training(), test::woven_rows(60, 50, 97), 4);
}

// One rank keeps everything whole, whatever is asked for.
void expect_shards_agree(Shard shard, DType compute) {
    TrainOptions options = test::tiny_training();
    options.shard = shard;
    expect_layouts_agree(options, test::woven_rows(60, 50, 97), 3, compute);
    options.batch_tokens = 60;  // ranks without rows, and lanes of unequal length
    expect_layouts_agree(options, test::woven_rows(20, 30, 97), 2, compute);
}

TEST(Layout, GradientsInShards) { expect_shards_agree(Shard::gradients, DType::f32); }

TEST(Layout, ParametersInShards) {
    for (DType const compute : {DType::f32, DType::bf16}) expect_shards_agree(Shard::parameters, compute);
}

TEST(Layout, ParametersInShardsOfModelsOfAnyDepth) {
    // More layers than slots, one layer, and weights that are computed with again; in the last steps few rows, so that
    // ranks have nothing to compute.
    auto const rows = test::woven_rows(40, 50, 97), few = test::woven_rows(20, 30, 97);
    for (int const layers : {1, 3, 6})
        for (Recompute const recompute : {Recompute::none, Recompute::attention, Recompute::block})
            for (DType const compute : {DType::f32, DType::bf16}) {
                SCOPED_TRACE(layers);
                TrainOptions options = test::tiny_training();
                options.shard = Shard::parameters;
                options.recompute = recompute;
                expect_layouts_agree(options, rows, 2, compute, layers);
                options.batch_tokens = 60;
                expect_layouts_agree(options, few, 2, compute, layers);
            }
}

TEST(Layout, WithoutThreads) {
    // Some messages are larger than what MPI sends at once.
    auto const world = test::world();
    ModelConfig config = test::tiny_model();
    config.tied = false;
    config.hidden = 64;
    config.vocabulary = 3000;
    auto const few = test::woven_rows(20, 30, 97);
    for (int const layers : {1, 4})
        for (Shard const shard : {Shard::optimizer, Shard::gradients, Shard::parameters}) {
            config.layers = layers;
            TrainOptions options = test::tiny_training();
            options.shard = shard;
            options.batch_tokens = 60;
            Job together(std::make_unique<test::WithoutThreads>(test::world()), options, {}, config);
            Job alone(world->split(world->rank(), 0), options, {}, config);
            for (StepPlan const& plan : plan_steps(test::lengths_of(few), test::packing_of(options), 3, 1, 1, 2)) {
                expect_same(together.trainer().step(few, plan, 2), alone.trainer().step(few, plan, 2));
                ASSERT_TRUE(together.has_values(alone.copy()));
            }
            together.model().pack(together.arena());
        }
}

std::size_t bytes_of(Job& job, std::string const& wanted) {
    std::size_t sum = 0;
    for (auto const& [name, size] : job.arena().report())
        if (name == wanted) sum += size;
    return sum;
}

TEST(Layout, ShardsOfGradientsTakeLessMemory) {
    auto const ranks = static_cast<std::size_t>(test::world()->size());
    if (ranks == 1) GTEST_SKIP() << "needs two ranks";
    TrainOptions options = test::tiny_training();
    options.lanes = 16;
    Job whole(test::world(), options);
    options.shard = Shard::gradients;
    Job shards(test::world(), options);
    std::size_t const one = static_cast<std::size_t>(whole.model().parameters().flat_size()) * sizeof(float);
    EXPECT_LE(bytes_of(shards, "gradient"), one + 5 * (one + ranks * 4 * 4096) / ranks);
    EXPECT_GE(bytes_of(whole, "gradient"), 3 * one);
}

TEST(Layout, ShardsOfParametersTakeLessMemory) {
    auto const world = test::world();
    auto const ranks = static_cast<std::size_t>(world->size());
    ModelConfig deep = test::tiny_model();
    deep.layers = 24;
    auto const rows = test::woven_rows(40, 50, 97);
    for (DType const compute : {DType::f32, DType::bf16}) {
        TrainOptions options = test::tiny_training();
        auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(options), 3, 1, 1, 1)[0];
        Job whole(test::world(), options, {}, deep, compute);
        options.shard = Shard::parameters;
        Job shards(test::world(), options, {}, deep, compute);
        std::size_t const all = bytes_of(whole, "parameters"), block = 4 * 4096;
        auto const expect_a_shard = [&] {
            EXPECT_GE(bytes_of(shards, "parameters") + block, all / ranks);
            EXPECT_LE(bytes_of(shards, "parameters"), all / ranks + block);
        };
        expect_a_shard();
        whole.trainer().step(rows, plan, 10);
        shards.trainer().step(rows, plan, 10);
        expect_a_shard();
        if (ranks == 1) continue;
        // Two layers of 24, and what is outside the layers.
        std::size_t const of_layer = all / 25;
        EXPECT_LT(bytes_of(shards, "gathered parameters"), 4 * of_layer);
        EXPECT_LE(bytes_of(shards, "packed weights"), bytes_of(whole, "packed weights") / 6);
        // While text is generated all weights are there, in the type of the products; then they are not.
        shards.model().pack(shards.arena());
        EXPECT_GE(bytes_of(shards, "packed weights"), all * 9 / 10 * size_of(compute) / 4);
        shards.model().unpack();
        EXPECT_EQ(bytes_of(shards, "packed weights"), 0U);
        EXPECT_EQ(bytes_of(shards, "gathered parameters"), 0U);
        expect_a_shard();
    }
}

TEST(Layout, WaitingForGatheredLayersIsCommunication) {
    auto const world = test::world();
    if (world->size() == 1) GTEST_SKIP() << "needs two ranks";
    TrainOptions options = test::tiny_training();
    options.shard = Shard::parameters;
    Job job(test::world(), options);
    auto const rows = test::woven_rows(20, 30, 97);
    auto const plans = plan_steps(test::lengths_of(rows), test::packing_of(options), 3, 1, 1, 2);
    job.trainer().step(rows, plans[0], 2);
    world->barrier();
    bool const late = world->rank() == 0;
    if (late) std::this_thread::sleep_for(std::chrono::milliseconds(400));
    double const before = job.model().gather_seconds();
    double const seconds = job.trainer().step(rows, plans[1], 2).communication_seconds;
    if (late) return;
    EXPECT_GE(job.model().gather_seconds() - before, 0.2);
    EXPECT_GE(seconds, job.model().gather_seconds() - before);
}

TEST(Layout, LanesWithoutRows) {
    TrainOptions options = test::tiny_training();
    options.batch_tokens = 60;
    expect_layouts_agree(options, test::woven_rows(20, 30, 97), 3);
}

TrainOptions long_micro_batches() {
    TrainOptions options = test::tiny_training();
    options.lanes = 4;
    options.batch_tokens = 4 * 1100;
    options.micro_batch_tokens = 1200;
    return options;
}

TEST(Layout, LongMicroBatches) {
    // More tokens than one weight-gradient product takes (1024), and rows that go through several attention blocks.
    expect_layouts_agree(long_micro_batches(), test::woven_rows(30, 600, 97), 1);
}

void expect_overlap(Shard shard) {
    auto const world = test::world();
    TrainOptions options = long_micro_batches();
    options.shard = shard;
    Job job(test::world(), options);
    auto const rows = test::woven_rows(30, 600, 97);
    auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(options), 3, 1, 1, 1)[0];
    // Where cores are few a rank's thread is not always run in time.
    std::int64_t most = 0;
    for (int step = 0; step < 200 && min_over(*world, most) == 0; ++step) {
        job.trainer().step(rows, plan, 1000);
        most = std::max(most, job.trainer().overlapped_pieces());
    }
    EXPECT_GT(most, 0);
    EXPECT_LT(most, world->size());  // the part with the embedding is final at the very end only
}

TEST(Layout, GradientsAreExchangedDuringTheBackwardPass) {
    auto const world = test::world();
    if (world->size() == 1) GTEST_SKIP() << "needs two ranks";
    if (!world->allows_threads()) GTEST_SKIP() << "this MPI has no threads";
    for (Shard const shard : {Shard::optimizer, Shard::gradients, Shard::parameters}) expect_overlap(shard);
}

}  // namespace
}  // namespace selvage

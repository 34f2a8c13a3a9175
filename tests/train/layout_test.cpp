// SPDX-License-Identifier: Apache-2.0
// Losses, norms and parameters have the same bits however the job is laid out.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

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
    EXPECT_TRUE(a.finite);
    EXPECT_TRUE(b.finite);
}

// Steps on all ranks against the same steps on one rank; where one rank is all there is, with two threads.
void expect_layouts_agree(TrainOptions const& options, std::vector<Woven> const& rows, int steps) {
    auto const world = test::world();
    Job together(test::world(), options);
    Job alone(world->split(world->rank(), 0), options);
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

TEST(Layout, GradientsInShards) {
    // One rank keeps whole gradients, whatever is asked for.
    TrainOptions options = test::tiny_training();
    options.shard = Shard::gradients;
    expect_layouts_agree(options, test::woven_rows(60, 50, 97), 3);
    options.batch_tokens = 60;
    expect_layouts_agree(options, test::woven_rows(20, 30, 97), 2);
}

TEST(Layout, ShardsOfGradientsTakeLessMemory) {
    auto const ranks = static_cast<std::size_t>(test::world()->size());
    if (ranks == 1) GTEST_SKIP() << "needs two ranks";
    TrainOptions options = test::tiny_training();
    options.lanes = 16;
    Job whole(test::world(), options);
    options.shard = Shard::gradients;
    Job shards(test::world(), options);
    auto const bytes = [](Job& job) {
        std::size_t sum = 0;
        for (auto const& [name, size] : job.arena().report())
            if (name == "gradient") sum += size;
        return sum;
    };
    std::size_t const one = static_cast<std::size_t>(whole.model().parameters().flat_size()) * sizeof(float);
    EXPECT_LE(bytes(shards), one + 5 * (one + ranks * 4 * 4096) / ranks);
    EXPECT_GE(bytes(whole), 3 * one);
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

TEST(Layout, GradientsAreExchangedDuringTheBackwardPass) {
    auto const world = test::world();
    if (world->size() == 1) GTEST_SKIP() << "needs two ranks";
    if (!world->allows_threads()) GTEST_SKIP() << "this MPI has no threads";
    Job job(test::world(), long_micro_batches());
    auto const rows = test::woven_rows(30, 600, 97);
    auto const plan = plan_steps(test::lengths_of(rows), test::packing_of(long_micro_batches()), 3, 1, 1, 1)[0];
    // Where cores are few a rank's thread is not always run in time.
    std::int64_t most = 0;
    for (int step = 0; step < 200 && min_over(*world, most) == 0; ++step) {
        job.trainer().step(rows, plan, 1000);
        most = std::max(most, job.trainer().overlapped_pieces());
    }
    EXPECT_GT(most, 0);
    EXPECT_LT(most, world->size());  // the part with the embedding is final at the very end only
}

}  // namespace
}  // namespace selvage

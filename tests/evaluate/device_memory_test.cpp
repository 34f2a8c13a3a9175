// SPDX-License-Identifier: Apache-2.0
// Training, generation and scoring where tensors lie in device memory, which the host cannot touch (a GPU or the
// emulated one), against the CPU: to what their arithmetic allows, and to the bit among themselves.
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "evaluate/training_forward.h"
#include "generate/engine.h"
#include "support/devices.h"
#include "train/job.h"

namespace selvage {
namespace {

using test::Job;

constexpr SpecialTokens special{.end_of_answer = 5, .begin = 6, .padding = 7};

// Compute type, ranks of the tensor axis, what is sharded over the data axis, family of the model.
using Case = std::tuple<DType, int, Shard, char const*>;

class DeviceMemory : public testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        std::string why;
        device_ = test::accelerator(why);
        if (device_.empty()) GTEST_SKIP() << why;
        if (test::world()->size() % tensor() != 0) GTEST_SKIP() << "ranks";
    }
    DType compute() const { return std::get<0>(GetParam()); }
    int tensor() const { return std::get<1>(GetParam()); }
    TrainOptions options() const {
        TrainOptions options = test::tiny_training();
        options.lanes = 4;
        options.batch_tokens = 160;
        options.shard = std::get<2>(GetParam());
        return options;
    }
    // One model on `ranks`.
    std::unique_ptr<Job> job(std::unique_ptr<Communicator> ranks, std::string const& device) const {
        GridOptions grid;
        grid.tensor = tensor();
        return std::make_unique<Job>(std::move(ranks), options(), grid, test::tiny_model(std::get<3>(GetParam())),
                                     compute(), device);
    }
    double tolerance() const { return compute() == DType::f32 ? 1e-4 : 3e-2; }

    std::string device_;
};

std::vector<Trainer::Result> train(Job& job, TrainOptions const& options) {
    auto const rows = test::woven_rows(20, 40, 97);
    auto const plans = plan_steps(test::lengths_of(rows), test::packing_of(options), 3, 1, 1, 3);
    std::vector<Trainer::Result> results;
    for (StepPlan const& plan : plans) results.push_back(job.trainer().step(rows, plan, 100));
    return results;
}

TEST_P(DeviceMemory, TrainingIsThatOfTheCpu) {
    auto const here = job(test::world(), "cpu"), there = job(test::world(), device_);
    auto const wanted = train(*here, options()), got = train(*there, options());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_NEAR(got[i].loss, wanted[i].loss, tolerance() * wanted[i].loss) << i;
        EXPECT_NEAR(got[i].grad_norm, wanted[i].grad_norm, tolerance() * wanted[i].grad_norm) << i;
        EXPECT_EQ(got[i].target_tokens, wanted[i].target_tokens);
        EXPECT_TRUE(got[i].finite);
    }
    // Where a gradient is all rounding Adam's first steps may go either way.
    std::vector<float> const a = here->copy(), b = there->copy();
    std::int64_t far = 0;
    for (std::size_t i = 0; i < a.size(); ++i) far += std::abs(a[i] - b[i]) > 1e-3 ? 1 : 0;
    EXPECT_LT(static_cast<double>(far), 0.02 * static_cast<double>(a.size()));
    EXPECT_NE(a, job(test::world(), "cpu")->copy());
}

TEST_P(DeviceMemory, RanksOfTheDataAxisDoNotShow) {
    if (tensor() > 1) GTEST_SKIP() << "another tensor axis has other bits";
    if (*std::get<3>(GetParam()) != 0) GTEST_SKIP() << "the same for all families, and slow";
    auto const world = test::world();
    auto const together = job(test::world(), device_), alone = job(world->split(world->rank(), 0), device_);
    train(*together, options());
    train(*alone, options());
    EXPECT_TRUE(together->has_values(alone->copy()));
}

TEST_P(DeviceMemory, GenerationIsThatOfTheCpuAndOfTraining) {
    std::vector<std::vector<Draft>> drafts;
    std::vector<std::vector<float>> trained;
    for (std::string const& device : {std::string("cpu"), device_}) {
        auto const job = this->job(test::world(), device);
        job->model().pack(job->arena());
        GenerateOptions options;
        options.streams = 4;
        options.cache_mib = 4;
        Engine engine(job->arena(), job->model(), options, 100, special, 11);
        std::vector<DraftRequest> requests;
        for (std::int32_t i = 0; i < 6; ++i) {
            DraftRequest request;
            request.example = i;
            for (Token token = 0; token < 3 + 11 * i; ++token) request.prompt.push_back(8 + (token * 7 + i) % 80);
            request.max_new_tokens = 12;
            std::vector<SamplerOptions> const samplers = {{1, 1, 0}, {0, 1, 0}, {0.7, 0.9, 0}, {1.3, 0.95, 20}};
            request.sampler = samplers[static_cast<std::size_t>(i) % samplers.size()];
            requests.push_back(request);
        }
        drafts.push_back(engine.run_all(1, requests));
        TrainingForward training(job->arena(), job->model(), 200);
        std::vector<ScoredSequence> scored;
        for (std::size_t i = 0; i < requests.size(); ++i) {
            auto tokens = requests[i].prompt;
            auto const start = static_cast<std::int64_t>(tokens.size());
            tokens.insert(tokens.end(), drafts.back()[i].tokens.begin(), drafts.back()[i].tokens.end());
            scored.push_back({tokens, start});
        }
        trained = training.run(scored);
        for (std::size_t i = 0; i < requests.size(); ++i)
            EXPECT_EQ(drafts.back()[i].logprob, trained[i]) << device << i;
    }
    for (std::size_t i = 0; i < drafts[0].size(); ++i) {
        if (compute() == DType::f32) {
            EXPECT_EQ(drafts[0][i].tokens, drafts[1][i].tokens);
        }
        ASSERT_FALSE(drafts[0][i].logprob.empty());
        EXPECT_NEAR(drafts[0][i].logprob[0], drafts[1][i].logprob[0], compute() == DType::f32 ? 1e-4 : 0.5);
    }
}

std::string name_of_case(testing::TestParamInfo<Case> const& info) {
    auto const [compute, tensor, shard, family] = info.param;
    return std::string(name_of(compute)) + "_tensor" + std::to_string(tensor) +
           (shard == Shard::optimizer   ? ""
            : shard == Shard::gradients ? "_gradients"
                                        : "_parameters") +
           (*family == 0 ? "" : "_") + family;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DeviceMemory,
    testing::Values(Case{DType::f32, 1, Shard::optimizer, ""}, Case{DType::f32, 1, Shard::gradients, ""},
                    Case{DType::f32, 2, Shard::optimizer, ""}, Case{DType::bf16, 1, Shard::optimizer, ""},
                    Case{DType::f32, 1, Shard::parameters, ""}, Case{DType::bf16, 1, Shard::parameters, ""},
                    Case{DType::f32, 2, Shard::optimizer, "gemma2"}, Case{DType::bf16, 1, Shard::parameters, "gemma2"},
                    Case{DType::bf16, 1, Shard::optimizer, "qwen3"}),
    name_of_case);

}  // namespace
}  // namespace selvage

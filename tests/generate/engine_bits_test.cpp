// SPDX-License-Identifier: Apache-2.0
// Drafts, and the log-probabilities recorded with them, for any number of streams, threads and ranks: those that
// training computes.
#include <gtest/gtest.h>

#include "generate/distributed.h"
#include "generate/training_logprob.h"
#include "kernels/threads.h"

namespace selvage {
namespace {

constexpr std::int64_t round_number = 3;
constexpr std::uint32_t count = 66;

// Samples of one prompt in pairs, so that pages are shared, and the samplers of free_request().
std::vector<DraftRequest> paired_requests() {
    std::vector<DraftRequest> requests = test::free_requests(count);
    for (std::size_t i = 0; i + 1 < requests.size(); i += 2) requests[i + 1].prompt = requests[i].prompt;
    return requests;
}

// Compute type and family of the model.
using Case = std::pair<DType, char const*>;
class Bits : public testing::TestWithParam<Case> {};

TEST_P(Bits, AreThoseOfTrainingForAnyStreamsThreadsAndRanks) {
    auto const world = test::world();
    auto const [compute, family] = GetParam();
    test::SmallModel small(1088, 0, compute, "cpu", family);
    if (compute != DType::f32) small.model.pack(small.arena);
    auto const requests = paired_requests();
    Engine alone(small.arena, small.model, test::generate_options(8), test::context, test::special, test::seed);
    std::vector<Draft> expected = alone.run_all(round_number, requests);
    auto const logprob = test::training_logprob(small, requests, expected);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i].logprob = logprob[i];

    small.model.pack(small.arena);
    for (std::int64_t const threads : {1, 2}) {
        kernels::set_threads(threads);
        for (std::int64_t const streams : {1, 3, 8, 32, 64}) {
            Engine engine(small.arena, small.model, test::generate_options(streams), test::context, test::special,
                          test::seed);
            DistributedWork work;
            work.items = count;
            work.request = [&](std::int64_t item) { return requests[static_cast<std::size_t>(item)]; };
            auto const mine = run_distributed(engine, *world, round_number, streams, work);
            EXPECT_EQ(sum_over(*world, static_cast<std::int64_t>(mine.drafts.size())), count);
            for (Draft const& draft : mine.drafts)
                EXPECT_TRUE(test::same(draft, expected[static_cast<std::size_t>(draft.example)]))
                    << "example " << draft.example << ", " << streams << " streams, " << threads << " threads";
        }
    }
    kernels::set_threads(1);
}

INSTANTIATE_TEST_SUITE_P(Compute, Bits,
                         testing::Values(Case{DType::f32, ""}, Case{DType::bf16, ""}, Case{DType::f32, "gemma2"},
                                         Case{DType::bf16, "qwen3"}),
                         [](auto const& info) { return std::string(name_of(info.param.first)) + info.param.second; });

}  // namespace
}  // namespace selvage

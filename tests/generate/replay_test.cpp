// SPDX-License-Identifier: Apache-2.0
// Steps whose launches are replayed, against steps that are launched: the same drafts to the bit.
#include <gtest/gtest.h>

#include "generate/small_model.h"
#include "support/devices.h"

namespace selvage {
namespace {

constexpr std::int64_t long_context = 600;

// Answers that go over the end of a page (64 tokens) and, with `longest`, of a split (512), of all lengths, more than
// there are streams.
std::vector<DraftRequest> requests_of(std::uint32_t first, std::size_t longest) {
    std::vector<DraftRequest> requests;
    for (std::size_t const prompt : {std::size_t{61}, longest, std::size_t{3}, std::size_t{63}, std::size_t{17},
                                     std::size_t{64}, std::size_t{1}, std::size_t{125}, std::size_t{30}}) {
        auto const example = first + static_cast<std::uint32_t>(requests.size());
        DraftRequest request;
        request.example = example;
        request.prompt = test::random_tokens(example, 1, prompt);
        request.max_new_tokens = prompt == longest ? 16 : 5 + test::number(example, 2, 8);
        std::vector<SamplerOptions> const samplers = {{1, 1, 0}, {0, 1, 0}, {0.7, 0.9, 0}, {1.3, 0.95, 20}};
        request.sampler = samplers[example % samplers.size()];
        requests.push_back(request);
    }
    return requests;
}

class OnDevice : public testing::TestWithParam<std::tuple<char const*, DType, char const*>> {
  protected:
    void SetUp() override {
        std::string reason;
        if (!test::find_device(std::get<0>(GetParam()), reason)) GTEST_SKIP() << reason;
    }
};

TEST_P(OnDevice, DraftsAreThoseOfLaunches) {
    auto const [device, compute, family] = GetParam();
    test::SmallModel small(64, 0, compute, device, family);
    small.model.pack(small.arena);
    auto const engine = [&](Replay replay) {
        return Engine(small.arena, small.model, test::generate_options(3, 4), long_context, test::special, test::seed,
                      replay);
    };
    // In f32 splits are not parts of their own, and the emulation of long prompts is slow: one case has them.
    std::size_t const longest = compute == DType::bf16 && *family == 0 ? 505 : 126;
    Engine launched = engine(Replay::never), replayed = engine(Replay::where_possible);
    auto const expect_same = [&](std::int64_t round, std::uint32_t first) {
        std::int64_t const before = replayed.counters().replayed_steps;
        auto const wanted = launched.run_all(round, requests_of(first, longest));
        auto const got = replayed.run_all(round, requests_of(first, longest));
        EXPECT_EQ(test::differing(wanted, got), 0) << "round " << round;
        std::int64_t tokens = 0;
        for (Draft const& draft : wanted) tokens += static_cast<std::int64_t>(draft.tokens.size());
        EXPECT_GT(tokens, 40);
        return replayed.counters().replayed_steps - before;
    };
    EXPECT_GT(expect_same(0, 0), 5);
    EXPECT_GT(expect_same(1, 100), 10);  // other sequences in the places of the first
    std::size_t const arena_peak = small.arena.peak();
    EXPECT_GT(expect_same(2, 0), 10);
    EXPECT_EQ(small.arena.peak(), arena_peak);  // nothing more is allocated

    // Other values at the place of the old ones, then another place.
    small.model.parameters().initialise(4);
    small.enlarge();
    small.model.pack(small.arena);
    EXPECT_GT(expect_same(0, 0), 10);
    small.model.unpack();
    std::vector<Memory> taken;
    for (int i = 0; i < 200; ++i) taken.push_back(small.arena.allocate("what takes the old place", 4096));
    small.model.pack(small.arena);
    EXPECT_GT(expect_same(1, 0), 5);
    EXPECT_EQ(launched.counters().replayed_steps, 0);
}

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice,
                         testing::Values(std::tuple{"emulated", DType::f32, ""},
                                         std::tuple{"emulated", DType::bf16, ""},
                                         std::tuple{"emulated", DType::bf16, "gemma2"},
                                         std::tuple{"cuda", DType::f32, ""}, std::tuple{"cuda", DType::bf16, ""},
                                         std::tuple{"cuda", DType::bf16, "gemma2"},
                                         std::tuple{"cuda", DType::bf16, "qwen3"}),
                         [](auto const& info) {
                             return std::string(std::get<0>(info.param)) + "_" +
                                    std::string(name_of(std::get<1>(info.param))) + std::get<2>(info.param);
                         });

TEST(Replays, NotOnTheCpu) {
    test::SmallModel small;
    Engine engine(small.arena, small.model, test::generate_options(3), test::context, test::special, test::seed);
    engine.run_all(0, test::free_requests(3));
    EXPECT_EQ(engine.counters().replayed_steps, 0);
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
// Drafts of all ranks together, with requests handed out dynamically, are those of one rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "generate/distributed.h"
#include "generate/small_model.h"
#include "generate/work_queue.h"

namespace selvage {
namespace {

constexpr std::int64_t round_number = 3;
constexpr std::uint32_t count = 60;

// The drafts of all ranks as comparable numbers, in the order of examples; equal on all ranks.
std::vector<std::int64_t> digest_all(Communicator& world, std::vector<Draft> const& mine) {
    std::vector<std::int64_t> digests(count);
    for (Draft const& draft : mine) {
        std::uint64_t hash = name_hash(reinterpret_cast<char const*>(draft.tokens.data()), draft.tokens.size() * 4);
        hash = 31 * hash + name_hash(reinterpret_cast<char const*>(draft.logprob.data()), draft.logprob.size() * 4);
        hash = 31 * hash +
               name_hash(reinterpret_cast<char const*>(draft.sampled_logprob.data()), draft.sampled_logprob.size() * 4);
        // Small enough that a second draft of an example, on any rank, changes the sum.
        digests[static_cast<std::size_t>(draft.example)] += static_cast<std::int64_t>(hash >> 8);
    }
    world.all_reduce(digests, Reduction::sum);
    return digests;
}

TEST(EngineOnRanks, DraftsEqualThoseOfOneRank) {
    auto const world = test::world();
    test::SmallModel small;
    std::vector<Draft> expected;
    if (world->rank() == 0) {
        Engine engine(small.arena, small.model, test::generate_options(8), test::context, test::special, test::seed);
        expected = engine.run_all(round_number, test::free_requests(count));
    }
    auto const expected_digests = digest_all(*world, expected);

    for (std::int64_t const streams : {2, 6}) {
        // The last rank is slow, and has a cache that is too small for its streams.
        bool const slow = world->rank() == world->size() - 1;
        Engine engine(small.arena, small.model, test::generate_options(slow ? 16 : streams, slow ? 1 : 16),
                      test::context, test::special, test::seed);
        WorkQueue queue(*world, count, streams);
        std::vector<Draft> mine;
        Engine::Hooks hooks;
        hooks.next = [&]() -> std::optional<DraftRequest> {
            auto const item = queue.next();
            if (!item) return std::nullopt;
            return test::free_request(static_cast<std::uint32_t>(*item));
        };
        hooks.exhausted = [&] { return queue.exhausted(); };
        hooks.done = [&](Draft&& draft) { mine.push_back(std::move(draft)); };
        hooks.progress = [&] {
            queue.progress();
            if (slow) std::this_thread::sleep_for(std::chrono::microseconds(300));
            return true;
        };
        engine.run(round_number, hooks);
        queue.finish();
        EXPECT_EQ(sum_over(*world, static_cast<std::int64_t>(mine.size())), count);
        EXPECT_EQ(digest_all(*world, mine), expected_digests) << streams << " streams";
        // Everyone had something to do.
        EXPECT_GT(min_over(*world, static_cast<std::int64_t>(mine.size())), 0);
    }
}

TEST(EngineOnRanks, OneRankThatStopsStopsAll) {
    auto const world = test::world();
    test::SmallModel small;
    for (int const first : {0, world->size() - 1}) {
        Engine engine(small.arena, small.model, test::generate_options(4), test::context, test::special, test::seed);
        DistributedWork work;
        work.items = 20000;  // minutes of work
        work.request = [](std::int64_t item) { return test::free_request(static_cast<std::uint32_t>(item)); };
        work.progress = [&](std::int64_t done) { return world->rank() != first || done < 3; };
        auto const mine = run_distributed(engine, *world, round_number, 4, work);
        EXPECT_LT(sum_over(*world, static_cast<std::int64_t>(mine.drafts.size())), work.items / 4);
    }
}

// True lengths of answers with a long tail, in the order of hints that are off by a factor of 1.6 (one deviation).
std::vector<std::int64_t> lengths_by_hint(std::uint32_t seed, std::int64_t items) {
    Random const random(seed, Purpose::test);
    auto const normal = [&](std::uint32_t item, std::uint32_t what) {
        double const u = random.uniform({item, what, 0}), v = random.uniform({item, what, 1});
        return std::sqrt(-2 * std::log(1 - u)) * std::cos(6.283185307179586 * v);
    };
    std::vector<std::pair<double, std::int64_t>> answers;
    for (std::uint32_t item = 0; item < static_cast<std::uint32_t>(items); ++item) {
        double const hint = std::min(128.0, 20 * std::exp(normal(item, 1)));
        auto const length = std::llround(hint * std::exp(0.5 * normal(item, 2)));
        answers.emplace_back(-hint, std::clamp<std::int64_t>(length, 1, 128));
    }
    std::sort(answers.begin(), answers.end());
    std::vector<std::int64_t> lengths;
    for (auto const& [hint, length] : answers) lengths.push_back(length);
    return lengths;
}

TEST(EngineOnRanks, HardlyAnyoneIdlesAtTheEnd) {
    auto const world = test::world();
    test::SmallModel small;
    constexpr SpecialTokens no_end{.end_of_answer = 1000, .begin = -1, .padding = -1};
    constexpr std::int64_t streams = 16;
    std::int64_t const items = 12 * streams * world->size();
    double idle = 0;
    constexpr int sweeps = 4;
    for (std::uint32_t sweep = 0; sweep < sweeps; ++sweep) {
        auto const lengths = lengths_by_hint(sweep, items);
        Engine engine(small.arena, small.model, test::generate_options(streams), test::context, no_end, test::seed);
        DistributedWork work;
        work.items = items;
        work.request = [&](std::int64_t item) {
            DraftRequest request = test::free_request(static_cast<std::uint32_t>(item));
            request.prompt.resize(1);
            request.max_new_tokens = lengths[static_cast<std::size_t>(item)];
            return request;
        };
        // Steps of a model that is slow for its weights: what else runs on this machine hardly matters.
        work.progress = [](std::int64_t) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            return true;
        };
        world->barrier();
        auto const mine = run_distributed(engine, *world, round_number, streams, work);
        auto const busy = std::llround(mine.busy_seconds * 1e6);
        auto const slowest = static_cast<double>(max_over(*world, busy));
        double const worst = 1 - static_cast<double>(min_over(*world, busy)) / slowest;
        if (world->rank() == 0) fmt::print("idle at most {:.1f}% of {:.2f} s\n", 100 * worst, slowest * 1e-6);
        idle += worst / sweeps;
    }
    EXPECT_LT(idle, 0.05);
}

}  // namespace
}  // namespace selvage

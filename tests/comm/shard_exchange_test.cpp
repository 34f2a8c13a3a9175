// SPDX-License-Identifier: Apache-2.0
#include "comm/host_shard_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "comm/lanes.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using test::even_shards;
using test::Lanes;

// Finishes the last lane from its end to its beginning, in parts of random sizes at random times.
void produce(Lanes& lanes, std::int64_t elements, ShardExchange& exchange, std::mt19937& random) {
    std::int64_t const most = std::max<std::int64_t>(1, elements / 4);
    for (std::int64_t end = elements; end > 0;) {
        std::int64_t const begin = std::max<std::int64_t>(0, end - 1 - static_cast<std::int64_t>(random()) % most);
        lanes.finish({begin, end});
        if (random() % 4 != 0) exchange.final_from(begin);
        if (random() % 2 != 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
        end = begin;
    }
}

void expect_sums(std::int64_t lanes, std::int64_t elements, Lanes::Merged merged, Overlap overlap) {
    auto const world = test::world();
    auto const shards = even_shards(elements, world->size());
    Range const shard = shards[static_cast<std::size_t>(world->rank())];
    HostShardExchange exchange(*world, lanes, shards, overlap);
    std::mt19937 random(static_cast<unsigned>(100 * lanes + world->rank()));
    for (int step = 0; step < 2; ++step) {
        SCOPED_TRACE(fmt::format("{} lanes, {} elements, step {}", lanes, elements, step));
        Lanes mine(EvenSplit(lanes, world->size()).part(world->rank()), lanes, elements, merged);
        std::vector<int> summed(static_cast<std::size_t>(shard.size()));
        exchange.begin(mine.rows(), [&](Range part) {
            for (std::int64_t i = part.begin; i < part.end; ++i) ++summed[static_cast<std::size_t>(i)];
        });
        produce(mine, elements, exchange, random);
        exchange.finish();
        EXPECT_THAT(summed, ::testing::Each(1));
        float const* const sums = mine.rows().back().values;
        std::int64_t wrong = 0;  // all ranks go on together, right or wrong
        for (std::int64_t e = shard.begin; e < shard.end; ++e) wrong += sums[e] != test::tree_of_lanes(1, lanes, e);
        EXPECT_EQ(wrong, 0);
    }
}

TEST(ShardExchange, SumsAreThoseOfTheTree) {
    for (std::int64_t const lanes : {1, 4, 8, 16}) {
        if (test::world()->size() > lanes) continue;
        for (Overlap const overlap : {Overlap::no, Overlap::yes})
            for (std::int64_t const elements : {1, 13, 5000}) {
                expect_sums(lanes, elements, Lanes::Merged::yes, overlap);
                expect_sums(lanes, elements, Lanes::Merged::no, overlap);
            }
    }
}

TEST(ShardExchange, ManyPieces) {
    // Several on any number of ranks, more than may be under way on few, and a short one at the end of each shard.
    std::int64_t const elements = 6 * HostShardExchange::piece_elements + 4321;
    for (Overlap const overlap : {Overlap::no, Overlap::yes}) expect_sums(4, elements, Lanes::Merged::yes, overlap);
}

// Waits for what another thread does.
template <class Condition>
bool comes_true(Condition const& condition) {
    auto const deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition() && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
}

TEST(ShardExchange, SumsWhatIsFinalWhileTheRestIsNot) {
    auto const world = test::world();
    if (world->size() == 1) GTEST_SKIP() << "needs two ranks";
    if (!world->allows_threads()) GTEST_SKIP() << "this MPI has no threads";
    std::int64_t const lanes = 8, elements = 10'000;
    auto const shards = even_shards(elements, world->size());
    Range const shard = shards[static_cast<std::size_t>(world->rank())];
    bool const owner = world->rank() == world->size() - 1;  // of the last elements
    HostShardExchange exchange(*world, lanes, shards);
    Lanes mine(EvenSplit(lanes, world->size()).part(world->rank()), lanes, elements, Lanes::Merged::yes);
    std::atomic<std::int64_t> summed = 0;
    exchange.begin(mine.rows(), [&](Range part) { summed += part.size(); });
    mine.finish({shards.back().begin, elements});
    exchange.final_from(shards.back().begin);
    EXPECT_TRUE(comes_true([&] { return exchange.started_pieces() == 1; }));
    EXPECT_TRUE(comes_true([&] { return summed == (owner ? shard.size() : 0); }));
    world->barrier();
    EXPECT_EQ(exchange.started_pieces(), 1);
    mine.finish({0, shards.back().begin});
    exchange.finish();
    EXPECT_EQ(exchange.started_pieces(), world->size());
    EXPECT_EQ(summed, shard.size());
}

// One rank gives up, before or in the middle of its step; all throw why, and who it was.
void expect_failure_is_heard(Overlap overlap, bool in_the_middle) {
    auto const world = test::world();
    std::int64_t const lanes = 4, elements = 5 * HostShardExchange::piece_elements;
    auto const shards = even_shards(elements, world->size());
    int const failing = world->size() - 1;
    Lanes mine(EvenSplit(lanes, world->size()).part(world->rank()), lanes, elements, Lanes::Merged::yes);
    HostShardExchange exchange(*world, lanes, shards, overlap);
    bool const fails = world->rank() == failing;
    if (!fails || in_the_middle) exchange.begin(mine.rows());
    if (!fails || in_the_middle) exchange.final_from(elements / 2);
    if (fails) exchange.abandon(ExitCode::io, "lost the corpus");
    try {
        exchange.finish();
        FAIL() << "no error on rank " << world->rank();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::io);
        std::string const who = fails ? "" : fmt::format(" (on rank {})", failing);
        EXPECT_EQ(std::string(error.what()), "lost the corpus" + who);
    }
    EXPECT_THROW(exchange.begin(mine.rows()), Error);
    world->barrier();
}

TEST(ShardExchange, AFailureIsHeardByAll) {
    if (test::world()->size() == 1) GTEST_SKIP() << "needs two ranks";
    for (Overlap const overlap : {Overlap::no, Overlap::yes})
        for (bool const in_the_middle : {false, true}) expect_failure_is_heard(overlap, in_the_middle);
}

}  // namespace
}  // namespace selvage

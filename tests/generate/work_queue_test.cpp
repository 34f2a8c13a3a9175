// SPDX-License-Identifier: Apache-2.0
#include "generate/work_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "support/test_main.h"

namespace selvage {
namespace {

// Takes items until the queue is exhausted; `work` runs for each. Returns how many items each was given, over all
// ranks.
std::vector<std::int64_t> drain(Communicator& axis, WorkQueue& queue, std::int64_t count,
                                std::function<void(std::int64_t)> const& work) {
    std::vector<std::int64_t> times(static_cast<std::size_t>(count));
    while (!queue.exhausted()) {
        if (auto const item = queue.next()) {
            work(*item);
            ++times.at(static_cast<std::size_t>(*item));
        } else {
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
        queue.progress();
    }
    queue.finish();
    if (count > 0) axis.all_reduce(times, Reduction::sum);
    return times;
}

TEST(WorkQueue, EveryItemExactlyOnce) {
    auto const world = test::world();
    for (std::int64_t const count : {0, 1, 2, 7, 64, 500}) {
        for (std::int64_t const ahead : {1, 4, 32}) {
            WorkQueue queue(*world, count, ahead);
            auto const times = drain(*world, queue, count, [](std::int64_t) {});
            EXPECT_EQ(times, std::vector<std::int64_t>(static_cast<std::size_t>(count), 1)) << count << " " << ahead;
        }
    }
}

TEST(WorkQueue, SlowRanksGetLess) {
    auto const world = test::world();
    std::int64_t const count = 120;
    // The last rank is ten times slower than the others.
    auto const pause = std::chrono::microseconds(world->rank() == world->size() - 1 ? 5000 : 500);
    std::int64_t mine = 0;
    WorkQueue queue(*world, count, 8);
    auto const times = drain(*world, queue, count, [&](std::int64_t) {
        ++mine;
        std::this_thread::sleep_for(pause);
    });
    EXPECT_EQ(times, std::vector<std::int64_t>(static_cast<std::size_t>(count), 1));
    if (world->size() > 1 && world->rank() == world->size() - 1) {
        EXPECT_LT(mine, count / world->size());
        EXPECT_GT(mine, 0);
    }
}

TEST(WorkQueue, ASlowServerStillServes) {
    auto const world = test::world();
    std::int64_t const count = 60;
    auto const pause = std::chrono::microseconds(world->rank() == 0 ? 3000 : 100);
    WorkQueue queue(*world, count, 4);
    auto const times = drain(*world, queue, count, [&](std::int64_t) { std::this_thread::sleep_for(pause); });
    EXPECT_EQ(times, std::vector<std::int64_t>(static_cast<std::size_t>(count), 1));
}

TEST(WorkQueue, NothingIsLeftBehindByAnEarlyStop) {
    auto const world = test::world();
    for (int repeat = 0; repeat < 20; ++repeat) {
        {
            WorkQueue queue(*world, 1000, 16);
            for (int i = 0; i < repeat * (1 + world->rank()); ++i) queue.next();
            queue.finish();
        }
        // A queue right behind it gets its own messages.
        WorkQueue next(*world, 10, 3);
        auto const times = drain(*world, next, 10, [](std::int64_t) {});
        ASSERT_EQ(times, std::vector<std::int64_t>(10, 1));
    }
    Message message;
    world->barrier();
    EXPECT_FALSE(world->poll(201, message));
    EXPECT_FALSE(world->poll(202, message));
}

TEST(WorkQueue, AStopOfOneRankStopsAll) {
    auto const world = test::world();
    for (int const first : {0, world->size() - 1}) {
        WorkQueue queue(*world, 1 << 30, 16);
        std::int64_t taken = 0;
        while (!queue.stopped()) {
            queue.progress();
            if (queue.next()) ++taken;
            if (world->rank() == first && taken >= 10) queue.stop();
            if (queue.stopped()) break;
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
        EXPECT_EQ(queue.next(), std::nullopt);
        queue.finish();
        EXPECT_TRUE(queue.stopped());
        EXPECT_LT(sum_over(*world, taken), 100000);
        WorkQueue next(*world, 10, 3);
        EXPECT_EQ(drain(*world, next, 10, [](std::int64_t) {}), std::vector<std::int64_t>(10, 1));
        EXPECT_FALSE(next.stopped());
    }
    Message message;
    world->barrier();
    EXPECT_FALSE(world->poll(203, message));
}

TEST(WorkQueue, HoldsNoMoreThanItsShareAhead) {
    auto const world = test::world();
    WorkQueue queue(*world, 1000, 6);
    // What is handed out without being started stays small: rank 0 can still take nearly everything.
    std::int64_t taken = 0;
    if (world->rank() == 0) {
        while (queue.next()) ++taken;
        EXPECT_GE(taken, 1000 - 6 * (world->size() - 1));
    }
    world->barrier();
    while (!queue.exhausted())
        if (!queue.next()) std::this_thread::sleep_for(std::chrono::microseconds(20));
    queue.finish();
}

}  // namespace
}  // namespace selvage

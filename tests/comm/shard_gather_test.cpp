// SPDX-License-Identifier: Apache-2.0
#include "comm/shard_gather.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "base/error.h"
#include "support/test_main.h"

namespace selvage {
namespace {

unsigned char byte_at(int gather, int rank, std::size_t at) {
    return static_cast<unsigned char>(17 * gather + 5 * rank + static_cast<int>(at % 251));
}

// A buffer with this rank's part in it.
struct Buffer {
    std::vector<std::size_t> counts;
    std::vector<std::int64_t> memory;  // aligned

    Buffer(int gather, std::vector<std::size_t> of_ranks, int rank) : counts(std::move(of_ranks)) {
        std::size_t bytes = 0;
        for (std::size_t const count : counts) bytes += count;
        memory.assign(bytes / 8, 0);
        std::size_t first = 0;
        for (int r = 0; r < rank; ++r) first += counts[static_cast<std::size_t>(r)];
        for (std::size_t i = 0; i < counts[static_cast<std::size_t>(rank)]; ++i)
            bytes_of()[first + i] = byte_at(gather, rank, i);
    }
    unsigned char* bytes_of() { return reinterpret_cast<unsigned char*>(memory.data()); }
    TensorView view() { return TensorView::of(memory.data(), {static_cast<std::int64_t>(memory.size())}); }
    std::int64_t wrong(int gather) {
        std::int64_t count = 0;
        unsigned char const* at = bytes_of();
        for (std::size_t r = 0; r < counts.size(); ++r)
            for (std::size_t i = 0; i < counts[r]; ++i) count += *at++ != byte_at(gather, static_cast<int>(r), i);
        return count;
    }
};

// Parts of unequal sizes, some of them empty, some of several pieces.
std::vector<std::size_t> counts_of(int gather, int ranks) {
    std::vector<std::size_t> counts;
    for (int r = 0; r < ranks; ++r) {
        std::size_t const sizes[] = {0, 8, 8 * 1001, 8 * (std::size_t{5} << 18) + 8 * 77};
        counts.push_back(sizes[static_cast<std::size_t>(gather + 3 * r) % 4]);
    }
    return counts;
}

void expect_gathers(Overlap overlap) {
    auto const world = test::world();
    auto const device = make_device("cpu");
    Stream stream(*device);
    ShardGather gather(*world, *device, overlap);
    std::mt19937 random(static_cast<unsigned>(world->rank()));
    std::vector<Buffer> buffers;
    constexpr int count = 12;
    for (int g = 0; g < count; ++g) buffers.emplace_back(g, counts_of(g, world->size()), world->rank());
    std::vector<ShardGather::Ticket> tickets;
    int checked = 0;
    auto const check_up_to = [&](int last) {
        gather.wait(tickets[static_cast<std::size_t>(last)]);
        for (; checked <= last; ++checked)
            EXPECT_EQ(buffers[static_cast<std::size_t>(checked)].wrong(checked), 0) << "gather " << checked;
    };
    // One ahead, as a pass through layers is; at the end several.
    for (int g = 0; g < count; ++g) {
        Buffer& buffer = buffers[static_cast<std::size_t>(g)];
        tickets.push_back(gather.start(buffer.view(), buffer.counts, stream));
        if (random() % 2 != 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
        if (g > 0 && g < count - 4) check_up_to(g - 1);
    }
    check_up_to(count - 1);
    gather.wait(tickets.front());  // was waited for
}

TEST(ShardGather, MakesBuffersWhole) {
    for (Overlap const overlap : {Overlap::no, Overlap::yes}) expect_gathers(overlap);
}

TEST(ShardGather, GoesOnWhileTheCallerComputes) {
    auto const world = test::world();
    if (world->size() == 1) GTEST_SKIP() << "needs two ranks";
    if (!world->allows_threads()) GTEST_SKIP() << "this MPI has no threads";
    auto const device = make_device("cpu");
    Stream stream(*device);
    ShardGather gather(*world, *device);
    Buffer buffer(1, std::vector<std::size_t>(static_cast<std::size_t>(world->size()), 8 << 20), world->rank());
    auto const ticket = gather.start(buffer.view(), buffer.counts, stream);
    auto const deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!gather.is_done(ticket) && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(gather.is_done(ticket));
    EXPECT_EQ(buffer.wrong(1), 0);
    EXPECT_EQ(gather.seconds(), 0);
}

TEST(ShardGather, AFailureIsHeardByAll) {
    auto const world = test::world();
    if (world->size() == 1) GTEST_SKIP() << "needs two ranks";
    auto const device = make_device("cpu");
    Stream stream(*device);
    int const failing = world->size() - 1;
    for (Overlap const overlap : {Overlap::no, Overlap::yes}) {
        Buffer first(0, counts_of(0, world->size()), world->rank());
        Buffer second(1, std::vector<std::size_t>(first.counts.size(), 8000), world->rank());
        ShardGather gather(*world, *device, overlap);
        auto const ticket = gather.start(first.view(), first.counts, stream);
        gather.wait(ticket);
        world->barrier();
        try {
            if (world->rank() == failing)
                gather.abandon(ExitCode::io, "lost the disk");
            else
                gather.start(second.view(), second.counts, stream);
            gather.wait(ticket + 1);
            FAIL() << "no error on rank " << world->rank();
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), ExitCode::io);
            std::string const who = world->rank() == failing ? "" : fmt::format(" (on rank {})", failing);
            EXPECT_EQ(std::string(error.what()), "lost the disk" + who);
        }
        EXPECT_THROW(gather.start(second.view(), second.counts, stream), Error);
        world->barrier();
    }
}

}  // namespace
}  // namespace selvage

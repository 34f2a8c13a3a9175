// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

#include "base/error.h"
#include "support/test_main.h"

namespace selvage {
namespace {

std::vector<std::byte> pattern(int from, std::size_t bytes) {
    std::vector<std::byte> out(bytes);
    for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(from * 31 + static_cast<int>(i));
    return out;
}

TEST(Communicator, AllToAllWithUnequalCounts) {
    auto const world = test::world();
    auto const ranks = static_cast<std::size_t>(world->size());
    auto const me = static_cast<std::size_t>(world->rank());
    std::vector<std::size_t> send_counts(ranks), recv_counts(ranks);
    std::vector<std::byte> send, expected;
    for (std::size_t r = 0; r < ranks; ++r) {
        send_counts[r] = 3 * me + r;
        recv_counts[r] = 3 * r + me;
        auto const to = pattern(static_cast<int>(me * 10 + r), send_counts[r]);
        send.insert(send.end(), to.begin(), to.end());
        auto const from = pattern(static_cast<int>(r * 10 + me), recv_counts[r]);
        expected.insert(expected.end(), from.begin(), from.end());
    }
    std::vector<std::byte> recv(expected.size());
    world->all_to_all_v(send, send_counts, recv, recv_counts);
    EXPECT_EQ(recv, expected);
}

TEST(Communicator, GatherBytesKeepsRankOrder) {
    auto const world = test::world();
    auto const mine = pattern(world->rank(), static_cast<std::size_t>(world->rank()) * 5);
    auto const parts = gather_bytes(*world, mine, 0);
    if (world->rank() != 0) {
        EXPECT_TRUE(parts.empty());
        return;
    }
    ASSERT_EQ(parts.size(), static_cast<std::size_t>(world->size()));
    for (int r = 0; r < world->size(); ++r)
        EXPECT_EQ(parts[static_cast<std::size_t>(r)], pattern(r, static_cast<std::size_t>(r) * 5));
}

TEST(Communicator, MessagesArriveByPolling) {
    auto const world = test::world();
    int const next = (world->rank() + 1) % world->size();
    world->send(pattern(world->rank(), 100), next, 7);
    Message message;
    while (!world->poll(7, message)) {
    }
    EXPECT_EQ(message.source, (world->rank() + world->size() - 1) % world->size());
    EXPECT_EQ(message.bytes, pattern(message.source, 100));
}

TEST(Communicator, AgreeThrowsOnEveryRank) {
    auto const world = test::world();
    int const bad = world->size() - 1;
    try {
        agree(*world, [&] {
            if (world->rank() == bad) fail(ExitCode::io, "disk of this rank");
        });
        FAIL() << "no error on rank " << world->rank();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::io);
        EXPECT_THAT(std::string(error.what()), ::testing::HasSubstr("disk of this rank"));
    }
    EXPECT_NO_THROW(agree(*world, [] {}));
}

}  // namespace
}  // namespace selvage

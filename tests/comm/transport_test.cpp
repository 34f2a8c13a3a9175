// SPDX-License-Identifier: Apache-2.0
#include "comm/transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Nccl = RankDevice::Nccl;

RankDevice on_gpu(int node, std::string_view name, int gpus, int gpu) {
    RankDevice rank{.nccl = Nccl::usable, .node = node, .gpus = gpus};
    std::copy(name.begin(), name.end(), rank.node_name.begin());
    rank.uuid = {std::byte{1}, static_cast<std::byte>(node), static_cast<std::byte>(gpu)};
    rank.place = {std::byte{2}, static_cast<std::byte>(gpu)};
    return rank;
}

void expect_nccl(std::vector<RankDevice> const& ranks) {
    for (Transport const wanted : {Transport::automatic, Transport::nccl}) {
        TransportChoice const choice = choose_transport(ranks, wanted);
        EXPECT_EQ(choice.transport, Transport::nccl);
        EXPECT_FALSE(choice.refused);
        EXPECT_EQ(choice.reason, "");
    }
    EXPECT_EQ(choose_transport(ranks, Transport::staged).transport, Transport::staged);
    EXPECT_FALSE(choose_transport(ranks, Transport::staged).refused);
}

// automatic takes the other way, nccl is refused; both with this reason.
void expect_staged(std::vector<RankDevice> const& ranks, std::string const& reason, std::string const& remedy) {
    TransportChoice const automatic = choose_transport(ranks, Transport::automatic);
    EXPECT_EQ(automatic.transport, Transport::staged);
    EXPECT_FALSE(automatic.refused);
    EXPECT_EQ(automatic.reason, reason);
    TransportChoice const nccl = choose_transport(ranks, Transport::nccl);
    EXPECT_TRUE(nccl.refused);
    EXPECT_EQ(nccl.reason, "grid.transport is \"nccl\" (staging is off), but " + reason + "; " + remedy +
                               ", or set grid.transport = \"automatic\"");
}

constexpr char const* one_each = "start one rank for each GPU";
constexpr char const* other_build = "use a build with NCCL on nodes with GPUs";

TEST(Transport, NcclWhereEveryRankHasAGpu) {
    expect_nccl({on_gpu(0, "n0", 2, 0), on_gpu(0, "n0", 2, 1), on_gpu(2, "n1", 2, 0), on_gpu(2, "n1", 2, 1)});
    // Every process sees its own GPU alone.
    expect_nccl({on_gpu(0, "n0", 1, 0), on_gpu(0, "n0", 1, 1), on_gpu(0, "n0", 1, 2)});
    expect_nccl({on_gpu(0, "n0", 4, 0)});
}

TEST(Transport, MoreRanksThanGpusOnANodeAreNamed) {
    expect_staged({on_gpu(0, "n0", 2, 0), on_gpu(0, "n0", 2, 1), on_gpu(2, "n1", 2, 0), on_gpu(2, "n1", 2, 1),
                   on_gpu(2, "n1", 2, 0)},
                  "node n1 has 3 ranks (2, 3, 4) on 2 of its 2 GPUs", one_each);
    expect_staged({on_gpu(0, "n0", 1, 0), on_gpu(0, "n0", 1, 0)}, "node n0 has 2 ranks (0, 1) on 1 of its 1 GPU",
                  one_each);
}

TEST(Transport, RanksThatShareAGpuThoughThereAreOthers) {
    expect_staged({on_gpu(0, "n0", 4, 1), on_gpu(0, "n0", 4, 1)}, "node n0 has 2 ranks (0, 1) on 1 of its 4 GPUs",
                  one_each);
    // NCCL goes by the place on the node: two parts of one GPU are one to it.
    auto parts = std::vector{on_gpu(0, "n0", 2, 0), on_gpu(0, "n0", 2, 1)};
    parts[1].place = parts[0].place;
    expect_staged(parts, "node n0 has 2 ranks (0, 1) on 1 of its 2 GPUs", one_each);
    parts[1].node = 1;  // the same place on another node is another GPU
    expect_nccl(parts);
}

TEST(Transport, RanksWithoutNccl) {
    auto ranks = std::vector{on_gpu(0, "n0", 2, 0), on_gpu(0, "n0", 2, 1)};
    ranks[1].nccl = Nccl::not_on_a_gpu;
    expect_staged(ranks, "rank 1 computes without a GPU", other_build);
    ranks[0].nccl = ranks[1].nccl = Nccl::not_built;
    expect_staged(ranks, "this program was built without NCCL", other_build);
}

TEST(Transport, WhatCannotBeIsRefusedOnEveryRank) {
    auto const world = test::world();
    auto const device = make_device("cpu");
    EXPECT_EQ(choose_transport(*world, *device, Transport::automatic).transport, Transport::staged);
    EXPECT_EQ(choose_transport(*world, *device, Transport::staged).transport, Transport::staged);
    try {
        choose_transport(*world, *device, Transport::nccl);
        FAIL() << "no error on rank " << world->rank();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        EXPECT_THAT(error.what(), AllOf(HasSubstr("grid.transport is \"nccl\""),
                                        HasSubstr("rank 0 computes without a GPU; use a build")));
    }
}

}  // namespace
}  // namespace selvage

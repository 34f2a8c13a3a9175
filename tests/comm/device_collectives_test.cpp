// SPDX-License-Identifier: Apache-2.0
#include "comm/device_collectives.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "device/arena.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using Bytes = std::vector<std::byte>;

// What rank `from` sends to rank `to`.
Bytes pattern(std::size_t from, std::size_t to, std::size_t bytes) {
    Bytes out(bytes);
    for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(from * 37 + to * 11 + i);
    return out;
}

// Devices that the build or the machine lacks are skipped (SELVAGE_REQUIRE_GPU=1: a GPU must be there).
class OnDevice : public testing::TestWithParam<char const*> {
  protected:
    void SetUp() override {
        try {
            device_ = make_device(GetParam());
        } catch (Error const& error) {
            char const* const required = std::getenv("SELVAGE_REQUIRE_GPU");
            if (required != nullptr && std::string(required) == "1" && std::string(GetParam()) == "cuda") throw;
            GTEST_SKIP() << error.what();
        }
        arena_.emplace(*device_);
        stream_.emplace(*device_);
        collectives_ = make_device_collectives(*world_, *device_);
    }
    // A block of device memory that holds `values`.
    class Block {
      public:
        Block(OnDevice& test, Bytes const& values)
            : test_(test), size_(values.size()), memory_(test.arena_->allocate("block", size_ + 1)) {
            test.device_->copy_to_device(memory_.data(), values.data(), size_, *test.stream_);
        }
        std::span<std::byte> span() const { return {static_cast<std::byte*>(memory_.data()), size_}; }
        Bytes values() const {
            Bytes host(size_);
            test_.device_->copy_to_host(host.data(), memory_.data(), size_, *test_.stream_);
            return host;
        }

      private:
        OnDevice& test_;
        std::size_t size_;
        Memory memory_;
    };

    std::unique_ptr<Communicator> world_ = test::world();
    std::size_t ranks_ = static_cast<std::size_t>(world_->size()), me_ = static_cast<std::size_t>(world_->rank());
    std::unique_ptr<Device> device_;
    std::optional<Arena> arena_;
    std::optional<Stream> stream_;
    std::unique_ptr<DeviceCollectives> collectives_;
};

TEST_P(OnDevice, AllGather) {
    for (std::size_t const bytes : {0, 5, 300}) {
        Bytes wanted;
        for (std::size_t r = 0; r < ranks_; ++r) {
            Bytes const part = pattern(r, 0, bytes);
            wanted.insert(wanted.end(), part.begin(), part.end());
        }
        Block const send(*this, pattern(me_, 0, bytes)), recv(*this, Bytes(bytes * ranks_));
        collectives_->all_gather(send.span(), recv.span(), *stream_);
        EXPECT_EQ(recv.values(), wanted);
        Bytes own(bytes * ranks_);
        std::copy_n(wanted.begin() + static_cast<std::ptrdiff_t>(me_ * bytes), bytes,
                    own.begin() + static_cast<std::ptrdiff_t>(me_ * bytes));
        Block const in_place(*this, own);
        collectives_->all_gather(in_place.span().subspan(me_ * bytes, bytes), in_place.span(), *stream_);
        EXPECT_EQ(in_place.values(), wanted);
    }
}

TEST_P(OnDevice, AllToAllWithUnequalCounts) {
    std::vector<std::size_t> send_counts, recv_counts;
    Bytes to_send, wanted;
    for (std::size_t r = 0; r < ranks_; ++r) {
        send_counts.push_back(3 * me_ + r);
        recv_counts.push_back(3 * r + me_);
        Bytes const to = pattern(me_, r, send_counts[r]), from = pattern(r, me_, recv_counts[r]);
        to_send.insert(to_send.end(), to.begin(), to.end());
        wanted.insert(wanted.end(), from.begin(), from.end());
    }
    Block const send(*this, to_send), recv(*this, Bytes(wanted.size()));
    collectives_->all_to_all_v(send.span(), send_counts, recv.span(), recv_counts, *stream_);
    EXPECT_EQ(recv.values(), wanted);
    EXPECT_EQ(send.values(), to_send);
}

TEST_P(OnDevice, BroadcastFromEachRank) {
    for (std::size_t root = 0; root < ranks_; ++root) {
        Block const bytes(*this, pattern(me_, 7, 100));
        collectives_->broadcast(bytes.span(), static_cast<int>(root), *stream_);
        EXPECT_EQ(bytes.values(), pattern(root, 7, 100));
    }
}

TEST_P(OnDevice, ChoosesItsTransport) {
    std::string const device = GetParam();
    auto const staged = make_device_collectives(*world_, *device_, Transport::staged);
    EXPECT_EQ(staged->transport(), device == "cpu" ? "MPI" : "MPI through host memory");
    if (device != "emulated") return;
    EXPECT_EQ(collectives_->transport(), staged->transport());
    EXPECT_THROW(make_device_collectives(*world_, *device_, Transport::nccl), Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, testing::Values("cpu", "emulated", "cuda"),
                         [](auto const& info) { return std::string(info.param); });

TEST(DeviceCollectives, TwoOfTheSameAreFound) {
    auto const world = test::world();
    auto const identity = [](int device) { return Bytes{std::byte{1}, static_cast<std::byte>(device)}; };
    EXPECT_TRUE(all_differ(*world, identity(world->rank())));
    EXPECT_EQ(all_differ(*world, identity(world->rank() / 2)), world->size() == 1);
    EXPECT_EQ(all_differ(*world, identity(world->rank() == 0 ? world->size() - 1 : world->rank())), world->size() == 1);
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "comm/device_collectives.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/process_grid.h"
#include "device/arena.h"
#include "support/devices.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using Bytes = std::vector<std::byte>;

// What rank `from` sends to rank `to`.
Bytes pattern(std::size_t from, std::size_t to, std::size_t bytes) {
    Bytes out(bytes);
    for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(from * 37 + to * 11 + i % 251);
    return out;
}

// Devices that the build or the machine lacks are skipped (SELVAGE_REQUIRE_GPU=1: a GPU must be there).
class OnDevice : public testing::TestWithParam<char const*> {
  protected:
    void SetUp() override {
        std::string reason;
        device_ = test::find_device(GetParam(), reason, world_->rank());
        if (!device_) GTEST_SKIP() << reason;
        arena_.emplace(*device_);
        stream_.emplace(*device_);
        Transport const transport = choose_transport(*world_, *device_, Transport::automatic).transport;
        collectives_ = make_device_collectives(*world_, *device_, transport);
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

Bytes together(std::vector<Bytes> const& parts) {
    Bytes all;
    for (Bytes const& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}

// More than goes at a time through host memory.
constexpr std::size_t many_bytes = (std::size_t{16} << 20) + 12345;

TEST_P(OnDevice, AllGather) {
    for (std::size_t const bytes : {std::size_t{0}, std::size_t{5}, std::size_t{300}, many_bytes}) {
        std::vector<Bytes> parts;
        for (std::size_t r = 0; r < ranks_; ++r) parts.push_back(pattern(r, 0, bytes));
        Block const send(*this, parts[me_]), recv(*this, Bytes(bytes * ranks_));
        collectives_->all_gather(recv.span(), send.span(), *stream_);
        EXPECT_TRUE(recv.values() == together(parts)) << bytes;
        EXPECT_TRUE(send.values() == parts[me_]) << bytes;
    }
}

TEST_P(OnDevice, AllGatherInPlaceWithUnequalCounts) {
    // Of some ranks nothing, and of one more than goes at a time.
    for (std::size_t const of_last : {std::size_t{7}, std::size_t{0}, many_bytes}) {
        std::vector<Bytes> parts;
        std::vector<std::size_t> counts;
        for (std::size_t r = 0; r < ranks_; ++r) {
            counts.push_back(r + 1 == ranks_ ? of_last : 100 * (r % 2));
            parts.push_back(pattern(r, 0, counts.back()));
        }
        std::vector<Bytes> own(ranks_);
        for (std::size_t r = 0; r < ranks_; ++r) own[r] = r == me_ ? parts[r] : Bytes(counts[r]);
        Block const all(*this, together(own));
        collectives_->all_gather(all.span(), counts, *stream_);
        EXPECT_TRUE(all.values() == together(parts)) << of_last;
    }
}

TEST_P(OnDevice, AllToAllWithUnequalCounts) {
    for (std::size_t const more : {std::size_t{0}, many_bytes}) {
        // The last rank sends `more` to rank 0; rank r sends nothing to rank r + 1.
        auto const count = [&](std::size_t from, std::size_t to) {
            if (to == from + 1 && more == 0) return std::size_t{0};
            return 3 * from + to + (to == 0 && from + 1 == ranks_ ? more : 0);
        };
        std::vector<std::size_t> send_counts, recv_counts;
        std::vector<Bytes> to_send, wanted;
        for (std::size_t r = 0; r < ranks_; ++r) {
            send_counts.push_back(count(me_, r));
            recv_counts.push_back(count(r, me_));
            to_send.push_back(pattern(me_, r, send_counts[r]));
            wanted.push_back(pattern(r, me_, recv_counts[r]));
        }
        Block const send(*this, together(to_send)), recv(*this, Bytes(together(wanted).size()));
        collectives_->all_to_all_v(recv.span(), recv_counts, send.span(), send_counts, *stream_);
        EXPECT_TRUE(recv.values() == together(wanted)) << more;
        EXPECT_TRUE(send.values() == together(to_send)) << more;
    }
}

TEST_P(OnDevice, WaitingForOthersIsCounted) {
    if (ranks_ == 1 || collectives_->only_streams()) return;
    Block const bytes(*this, Bytes(ranks_));
    std::vector<std::size_t> const counts(ranks_, 1);
    world_->barrier();
    double const before = world_->seconds();
    if (me_ == 0) std::this_thread::sleep_for(std::chrono::milliseconds(200));
    collectives_->all_gather(bytes.span(), counts, *stream_);
    EXPECT_GT(world_->seconds() - before, me_ == 0 ? 0 : 0.1);
}

TEST_P(OnDevice, NamesItsTransport) {
    std::string const device = GetParam();
    if (device == "cuda") return;  // goes by the machine
    EXPECT_EQ(collectives_->transport(), device == "cpu" ? "MPI" : "MPI through host memory");
}

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, testing::Values("cpu", "emulated", "cuda"),
                         [](auto const& info) { return std::string(info.param); });

// The grid's are made once, for all who use an axis; a device that it was not connected with gets its own.
TEST(DeviceCollectives, BelongToTheGrid) {
    auto const device = make_device("cpu"), other = make_device("cpu");
    ProcessGrid grid(test::world(), {});
    EXPECT_NE(grid.collectives(Axis::data, *device), grid.collectives(Axis::data, *device));
    grid.connect(*device);
    EXPECT_EQ(grid.collectives(Axis::data, *device), grid.collectives(Axis::data, *device));
    EXPECT_NE(grid.collectives(Axis::data, *other), grid.collectives(Axis::data, *other));
    EXPECT_EQ(&grid.collectives(Axis::tensor, *device)->ranks(), &grid.axis(Axis::tensor));
    EXPECT_EQ(&grid.collectives(Axis::data, *other)->ranks(), &grid.data());
}

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "device/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "device/arena.h"
#include "support/devices.h"

namespace selvage {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using Ints = std::vector<int>;

TEST(Device, NamesThatAreNotThereSayWhatToDo) {
    EXPECT_THROW(make_device("nothing"), Error);
    try {
        EXPECT_EQ(make_device("cuda")->kind(), DeviceKind::cuda);
    } catch (Error const& error) {
        EXPECT_THAT(error.what(), AnyOf(HasSubstr("not built with CUDA (configure with --preset cuda)"),
                                        HasSubstr("no GPU can be used")));
    }
}

// Every device does the same; a GPU where there is one (SELVAGE_REQUIRE_GPU=1: must be).
class AnyDevice : public testing::TestWithParam<char const*> {
  protected:
    void SetUp() override {
        std::string reason;
        device_ = test::find_device(GetParam(), reason);
        if (!device_) GTEST_SKIP() << reason;
    }
    std::unique_ptr<Device> device_;
};

TEST_P(AnyDevice, MemoryIsZeroedAndCopiesKeepTheirOrder) {
    Arena arena(*device_);
    std::size_t const count = 5'000'001;  // many pieces of the staging memory
    Memory const memory = arena.allocate("numbers", count * sizeof(int));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % 64, 0U);
    Stream stream(*device_);
    Ints host(count, -1);
    device_->copy_to_host(host.data(), memory.data(), memory.bytes(), stream);
    EXPECT_EQ(host, Ints(count, 0));
    for (int round = 0; round < 3; ++round) {
        std::iota(host.begin(), host.end(), round);
        device_->copy_to_device(memory.data(), host.data(), memory.bytes(), stream);
        std::fill(host.begin(), host.end(), -1);  // it may be reused at once
    }
    device_->copy_to_host(host.data(), memory.data(), memory.bytes(), stream);
    Ints wanted(count);
    std::iota(wanted.begin(), wanted.end(), 2);
    EXPECT_EQ(host, wanted);
}

TEST_P(AnyDevice, UploadsLastForEightMore) {
    if (std::string(GetParam()) == "cpu") return;  // the host's own array is what its kernels read
    Stream stream(*device_);
    std::deque<std::pair<Ints, int const*>> alive;
    for (int i = 0; i < 400; ++i) {
        Ints host(static_cast<std::size_t>(i % 97 == 96 ? 40'000 * (i / 97 + 1) : i * 37 % 1000 + 1));
        std::iota(host.begin(), host.end(), i);
        int const* const there = upload(std::span<int const>(host), stream);
        alive.emplace_back(host, there);
        if (alive.size() > 9) alive.pop_front();
        if (i % 50 < 9) continue;
        for (auto const& [values, where] : alive) {
            Ints back(values.size());
            download(std::span(back), where, stream);
            ASSERT_EQ(back, values) << i;
        }
    }
}

TEST_P(AnyDevice, EventsOrderStreams) {
    Arena arena(*device_);
    Memory const memory = arena.allocate("numbers", 1000 * sizeof(int));
    Stream first(*device_), second(*device_);
    Event event(*device_);
    Ints const host(1000, 7);
    device_->copy_to_device(memory.data(), host.data(), memory.bytes(), first);
    first.record(event);
    second.wait(event);
    Ints back(1000);
    device_->copy_to_host(back.data(), memory.data(), memory.bytes(), second);
    EXPECT_EQ(back, host);
    first.synchronize();
}

TEST_P(AnyDevice, MoreMemoryThanThereIsIsAnErrorWithFigures) {
    if (std::string(GetParam()) != "cuda") return;  // the host hands out what it does not have
    try {
        device_->allocate(std::size_t{1} << 50);
        FAIL();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::system);
        EXPECT_THAT(error.what(), AllOf(HasSubstr("out of memory: 1.0 PiB"), HasSubstr("free")));
    }
    Stream stream(*device_);  // and the device goes on
    EXPECT_NE(device_->allocate(64), nullptr);
}

// A recording does what was put in, on what is there when it is replayed.
TEST_P(AnyDevice, RecordedWorkIsReplayed) {
    Arena arena(*device_);
    Stream stream = arena.stream();
    Memory const from = arena.allocate("from", sizeof(int)), to = arena.allocate("to", sizeof(int));
    auto const set = [&](Memory const& memory, int value) {
        device_->copy_to_device(memory.data(), &value, sizeof value, stream);
    };
    auto const value_of = [&](Memory const& memory) {
        int value = 0;
        device_->copy_to_host(&value, memory.data(), sizeof value, stream);
        return value;
    };
    int called = 0;
    auto const recording = stream.record_work([&] {
        ++called;
        stream.queue()->copy(to.data(), from.data(), sizeof(int));
    });
    EXPECT_EQ(called, recording == nullptr ? 0 : 1);
    if (recording == nullptr) return;
    EXPECT_EQ(value_of(to), 0);
    for (int const value : {3, 4}) {
        set(from, value);
        stream.replay(*recording);
        EXPECT_EQ(value_of(to), value);
    }
    // What moves bytes from the host would move those of the first time.
    EXPECT_THROW(stream.record_work([&] { set(from, 5); }), Error);
    EXPECT_THROW(stream.record_work([&] { value_of(to); }), Error);
    EXPECT_THROW(stream.record_work([&] { upload(std::span<int const>(Ints(3)), stream); }), Error);
    set(from, 6);  // and the stream goes on
    EXPECT_EQ(value_of(from), 6);
}

// What a wait does while the GPU works; the end never comes, but the watch sees that.
TEST(Watches, EndAWaitThatWouldNotEnd) {
    struct Loses : Watch {
        int looks = 0;
        void look() override {
            if (++looks == 3) fail(ExitCode::system, "lost a rank");
        }
    } watch;
    Watches watches;
    int asked = 0;
    watches.wait_until([&] { return ++asked == 5; });
    EXPECT_EQ(asked, 5);
    watches.add(watch);
    EXPECT_FALSE(watches.empty());
    EXPECT_THROW(watches.wait_until([] { return false; }), Error);
    EXPECT_EQ(watch.looks, 3);
    watches.remove(watch);
    EXPECT_TRUE(watches.empty());
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool traps = false;
#else
constexpr bool traps = true;
#endif

TEST(EmulatedDevice, TheHostCannotTouchItsMemory) {
    std::unique_ptr<Device> device;
    try {
        device = make_device("emulated");
    } catch (Error const& error) {
        GTEST_SKIP() << error.what();
    }
    if (!traps) GTEST_SKIP() << "not under sanitizers";
    Arena arena(*device);
    Memory const memory = arena.allocate("numbers", 10'000);
    auto* const numbers = static_cast<int volatile*>(memory.data());
    Stream stream(*device);
    int const* const sent = upload(std::span<int const>(Ints(10, 3)), stream);
    int host = 5;
    device->copy_to_device(memory.data(), &host, sizeof host, stream);  // which opens it for a while
    EXPECT_DEATH(numbers[0] = 1, "");
    EXPECT_DEATH(static_cast<void>(numbers[2000]), "");
    EXPECT_DEATH(static_cast<void>(*const_cast<int const volatile*>(sent)), "");
    host = 0;
    device->copy_to_host(&host, memory.data(), sizeof host, stream);
    EXPECT_EQ(host, 5);
    // What is given back and used again is zeros, whoever had it.
    {
        Memory const other = arena.allocate("other", 9'000);
        device->copy_to_device(other.data(), &host, sizeof host, stream);
    }
    Memory const again = arena.allocate("again", 5'000), more = arena.allocate("more", 3'000);
    Ints all(2000, 1);
    device->copy_to_host(all.data(), again.data(), 5'000, stream);
    device->copy_to_host(all.data() + 1250, more.data(), 3'000, stream);
    EXPECT_EQ(all, Ints(2000, 0));
}

INSTANTIATE_TEST_SUITE_P(Devices, AnyDevice, testing::Values("cpu", "emulated", "cuda"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage

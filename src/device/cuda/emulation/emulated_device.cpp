// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/emulation/block.h"
#include "device/cuda/emulation/memory.h"

namespace selvage {
namespace {

class Block {
  public:
    Block() = default;
    explicit Block(std::size_t bytes) : bytes_(bytes), data_(emulation::allocate(bytes)) {}
    Block(Block&& other) noexcept
        : bytes_(std::exchange(other.bytes_, 0)), data_(std::exchange(other.data_, nullptr)) {}
    Block& operator=(Block&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(data_, other.data_);
        return *this;
    }
    ~Block() { emulation::release(data_, bytes_); }
    void* data() const { return data_; }

  private:
    std::size_t bytes_ = 0;
    void* data_ = nullptr;
};

void copy_bytes(void* to, void const* from, std::size_t bytes) {
    emulation::Access const access;
    if (bytes > 0) std::memcpy(to, from, bytes);
}

// Closures, and the scratch memory that they name.
struct EmulatedRecording final : Recording {
    std::vector<std::function<void()>> work;
    std::vector<Block> scratch;
};

void fill_with_nan(void* memory, std::size_t bytes) {
    emulation::Access const access;
    std::memset(memory, 0xff, bytes);
}

// Everything is done at once, but what is recorded. Each array has an allocation of its own, so that sanitizers see
// where it ends.
class EmulatedQueue final : public StreamQueue {
  public:
    void* native() const override { return nullptr; }
    void synchronize() override { expect_no_recording("synchronize"); }
    bool done() const override { return true; }
    void const* upload(void const* host, std::size_t bytes) override {
        expect_no_recording("upload");
        Block& slot = uploads_[next_++ % uploads_.size()];
        slot = Block(bytes);
        copy_bytes(slot.data(), host, bytes);
        return slot.data();
    }
    void copy_to_device(void* device_memory, void const* host, std::size_t bytes) override {
        expect_no_recording("copy_to_device");
        copy_bytes(device_memory, host, bytes);
    }
    void copy(void* to, void const* from, std::size_t bytes) override {
        put([=] { copy_bytes(to, from, bytes); });
    }
    void download(void* host, void const* device_memory, std::size_t bytes) override {
        expect_no_recording("download");
        copy_bytes(host, device_memory, bytes);
    }
    void* scratch(std::size_t bytes) override {
        Block& block = recording_ ? recording_->scratch.emplace_back() : scratch_;
        block = Block(bytes);
        put([memory = block.data(), bytes] { fill_with_nan(memory, bytes); });
        return block.data();
    }

    void begin_recording() override { recording_ = std::make_unique<EmulatedRecording>(); }
    std::unique_ptr<Recording> end_recording(bool keep) override {
        auto recording = std::move(recording_);
        return keep ? std::move(recording) : nullptr;
    }
    void replay(Recording& recording) override {
        expect_no_recording("replay");
        for (auto const& work : static_cast<EmulatedRecording&>(recording).work) work();
    }
    // Does it, or records it.
    void put(std::function<void()> work) {
        if (recording_)
            recording_->work.push_back(std::move(work));
        else
            work();
    }

  private:
    void expect_no_recording(char const* call) const { SELVAGE_CHECK(!recording_, "{} while a stream records", call); }

    std::unique_ptr<EmulatedRecording> recording_;
    std::array<Block, 9> uploads_;
    std::size_t next_ = 0;
    Block scratch_;
};

class EmulatedDevice final : public Device {
  public:
    DeviceKind kind() const override { return DeviceKind::cuda; }
    std::string description() const override { return "emulated GPU on the CPU"; }
    std::size_t memory_limit() const override { return host_->memory_limit(); }
    void* allocate(std::size_t bytes) override { return emulation::allocate(bytes); }
    void release(void* memory, std::size_t bytes) noexcept override { emulation::release(memory, bytes); }
    std::unique_ptr<StreamQueue> make_queue() override { return std::make_unique<EmulatedQueue>(); }

  private:
    std::unique_ptr<Device> host_ = make_cpu_device();
};

}  // namespace

void emulation::put(Stream& stream, std::function<void()> work) {
    auto* const queue = dynamic_cast<EmulatedQueue*>(stream.queue());
    if (queue != nullptr)
        queue->put(std::move(work));
    else
        work();
}

std::unique_ptr<Device> make_emulated_device() { return std::make_unique<EmulatedDevice>(); }

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>

#include "device/cpu/cpu_device.h"
#include "device/cuda/cuda_device.h"

namespace selvage {
namespace {

// Everything is done at once. Each array has an allocation of just its size, so that sanitizers see where it ends.
class EmulatedQueue final : public StreamQueue {
  public:
    void* native() const override { return nullptr; }
    void synchronize() override {}
    void const* upload(void const* host, std::size_t bytes) override {
        auto& slot = uploads_[next_++ % uploads_.size()];
        slot = std::make_unique<std::byte[]>(bytes);
        if (bytes > 0) std::memcpy(slot.get(), host, bytes);
        return slot.get();
    }
    void download(void* host, void const* device_memory, std::size_t bytes) override {
        if (bytes > 0) std::memcpy(host, device_memory, bytes);
    }
    void* scratch(std::size_t bytes) override {
        scratch_.reset(static_cast<std::byte*>(::operator new[](bytes, alignment)));
        std::memset(scratch_.get(), 0xff, bytes);  // NaN
        return scratch_.get();
    }

  private:
    static constexpr std::align_val_t alignment{256};
    struct Release {
        void operator()(std::byte* memory) const { ::operator delete[](memory, alignment); }
    };
    std::array<std::unique_ptr<std::byte[]>, 9> uploads_;
    std::size_t next_ = 0;
    std::unique_ptr<std::byte[], Release> scratch_;
};

class EmulatedDevice final : public Device {
  public:
    DeviceKind kind() const override { return DeviceKind::cuda; }
    std::string description() const override { return "emulated GPU on the CPU"; }
    std::size_t memory_limit() const override { return host_->memory_limit(); }
    void* allocate(std::size_t bytes) override { return host_->allocate(bytes); }
    void release(void* memory, std::size_t bytes) noexcept override { host_->release(memory, bytes); }
    void copy_to_device(void* device_memory, void const* host, std::size_t bytes, Stream& stream) override {
        host_->copy_to_device(device_memory, host, bytes, stream);
    }
    void copy_to_host(void* host, void const* device_memory, std::size_t bytes, Stream& stream) override {
        host_->copy_to_host(host, device_memory, bytes, stream);
    }
    std::unique_ptr<StreamQueue> make_queue() override { return std::make_unique<EmulatedQueue>(); }

  private:
    std::unique_ptr<Device> host_ = make_cpu_device();
};

}  // namespace

std::unique_ptr<Device> make_emulated_device() { return std::make_unique<EmulatedDevice>(); }

}  // namespace selvage

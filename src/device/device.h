// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where tensors live and kernels run. One factory chooses the implementation at run time.
#include <cstddef>
#include <memory>
#include <string>

#include "device/stream.h"
#include "device/watch.h"

namespace selvage {

class Device {
  public:
    virtual ~Device() = default;
    virtual DeviceKind kind() const = 0;
    virtual std::string description() const = 0;  // for the log, e.g. "CPU, avx512, 2 threads"
    // Bytes that this process may use: the machine's or the control group's limit, whichever is lower; a GPU's memory.
    virtual std::size_t memory_limit() const = 0;
    // Aligned to 64 bytes at least, zeroed. Throws Error(system) with the figures when there is not enough.
    virtual void* allocate(std::size_t bytes) = 0;
    virtual void release(void* memory, std::size_t bytes) noexcept = 0;
    // Between host and device memory, ordered on `stream`. Host memory may be reused, or has its values, on return:
    // copying to the host waits for the stream.
    void copy_to_device(void* device_memory, void const* host, std::size_t bytes, Stream& stream);
    void copy_to_host(void* host, void const* device_memory, std::size_t bytes, Stream& stream);
    // Host memory that copies are fast from and to (pinned, beside a GPU); see HostBuffer. Any thread.
    virtual void* allocate_host(std::size_t bytes);
    virtual void release_host(void* memory) noexcept;
    // Returns when everything that was put into any of its streams is done.
    virtual void synchronize() {}
    // For threads other than the one that made the device: before they launch kernels on it.
    virtual void use_on_this_thread() {}
    // What looks while the host waits for one of the streams, and may throw from there.
    Watches& watches() { return watches_; }
    // For Stream and Event; null where calls have done their work when they return.
    virtual std::unique_ptr<StreamQueue> make_queue() { return nullptr; }
    virtual std::unique_ptr<EventMark> make_event() { return nullptr; }

  private:
    Watches watches_;
};

// `name` is "cpu"; "cuda", the GPU `index` of those that the process sees; or, in builds with SELVAGE_EMULATION,
// "emulated", where the CUDA kernels run on the processor. Anything else, or what is not built, is Error(bad_data).
std::unique_ptr<Device> make_device(std::string const& name, int index = 0);
// GPUs that the process sees; 0 in builds without CUDA.
int count_gpus();

// A piece of Device::allocate_host() that grows. The device must outlive it.
class HostBuffer {
  public:
    explicit HostBuffer(Device& device) : device_(device) {}
    HostBuffer(HostBuffer const&) = delete;
    HostBuffer& operator=(HostBuffer const&) = delete;
    ~HostBuffer();
    // At least `bytes`, which hold nothing in particular.
    void* at_least(std::size_t bytes);

  private:
    Device& device_;
    void* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where tensors live and kernels run. One factory chooses the implementation at run time.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace selvage {

enum class DeviceKind : std::uint8_t { cpu };

// An in-order queue of work. Kernels take one; on the CPU they have finished when the call returns.
class Stream {
  public:
    explicit Stream(DeviceKind device) : device_(device) {}
    DeviceKind device() const { return device_; }
    void synchronize() {}

  private:
    DeviceKind device_;
};

class Device {
  public:
    virtual ~Device() = default;
    virtual DeviceKind kind() const = 0;
    virtual std::string description() const = 0;  // for the log, e.g. "CPU, avx512, 2 threads"
    // Bytes that this process may use: the machine's or the control group's limit, whichever is lower.
    virtual std::size_t memory_limit() const = 0;
    // Aligned to 64 bytes at least, zeroed. Throws Error(system) with the figures when there is not enough.
    virtual void* allocate(std::size_t bytes) = 0;
    virtual void release(void* memory, std::size_t bytes) noexcept = 0;
    // Between host and device memory, ordered on `stream`.
    virtual void copy_to_device(void* device_memory, void const* host, std::size_t bytes, Stream& stream) = 0;
    virtual void copy_to_host(void* host, void const* device_memory, std::size_t bytes, Stream& stream) = 0;
};

// `name` is "cpu"; anything else is Error(bad_data).
std::unique_ptr<Device> make_device(std::string const& name);

}  // namespace selvage

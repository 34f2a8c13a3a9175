// SPDX-License-Identifier: Apache-2.0
#include "device/device.h"

#include <cstring>
#include <new>
#include <utility>

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "device/cuda/cuda_device.h"

namespace selvage {

void Device::copy_to_device(void* device_memory, void const* host, std::size_t bytes, Stream& stream) {
    SELVAGE_CHECK(stream.device() == kind(), "a copy in another device's stream");
    if (stream.queue() != nullptr)
        stream.queue()->copy_to_device(device_memory, host, bytes);
    else if (bytes > 0)
        std::memcpy(device_memory, host, bytes);
}

void Device::copy_to_host(void* host, void const* device_memory, std::size_t bytes, Stream& stream) {
    SELVAGE_CHECK(stream.device() == kind(), "a copy in another device's stream");
    if (stream.queue() != nullptr)
        stream.queue()->download(host, device_memory, bytes);
    else if (bytes > 0)
        std::memcpy(host, device_memory, bytes);
}

void* Device::allocate_host(std::size_t bytes) { return ::operator new (bytes, std::align_val_t{64}); }
void Device::release_host(void* memory) noexcept { ::operator delete (memory, std::align_val_t{64}); }

HostBuffer::~HostBuffer() {
    if (memory_ != nullptr) device_.release_host(memory_);
}

void* HostBuffer::at_least(std::size_t bytes) {
    if (bytes > bytes_) {
        if (memory_ != nullptr) device_.release_host(std::exchange(memory_, nullptr));
        bytes_ = 0;
        memory_ = device_.allocate_host(bytes);
        bytes_ = bytes;
    }
    return memory_;
}

int count_gpus() {
#ifdef SELVAGE_CUDA
    return count_cuda_devices();
#else
    return 0;
#endif
}

std::unique_ptr<Device> make_device(std::string const& name, [[maybe_unused]] int index) {
    if (name == "cpu") return make_cpu_device();
#ifdef SELVAGE_CUDA
    if (name == "cuda") return make_cuda_device(index);
#else
    if (name == "cuda")
        fail(ExitCode::bad_data, "device 'cuda': not built with CUDA (configure with --preset cuda); use 'cpu'");
#endif
#ifdef SELVAGE_EMULATION
    if (name == "emulated") return make_emulated_device();
#endif
    fail(ExitCode::bad_data, "device '{}' is not in this build; use 'cpu'", name);
}

}  // namespace selvage

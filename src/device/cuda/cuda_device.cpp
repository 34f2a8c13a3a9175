// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_device.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include "base/error.h"
#include "base/timer.h"
#include "device/cuda/check.h"
#include "device/cuda/cuda_queue.h"

namespace selvage {
namespace {

class CudaDevice final : public Device {
  public:
    explicit CudaDevice(int index) : index_(index) {
        int count = 0;
        cudaError_t const status = cudaGetDeviceCount(&count);
        if (status != cudaSuccess || count == 0)
            fail(ExitCode::system, "no GPU can be used (cudaGetDeviceCount: {}); use device 'cpu'",
                 status == cudaSuccess ? "0 devices" : cudaGetErrorString(status));
        if (index >= count)
            fail(ExitCode::system, "GPU {} is asked for, but the process sees {}; start fewer ranks on a node", index,
                 count);
        SELVAGE_CUDA_CHECK(cudaSetDevice(index));
        SELVAGE_CUDA_CHECK(cudaGetDeviceProperties(&properties_, index));
        SELVAGE_CUDA_CHECK(cudaFree(nullptr));  // makes the context now
    }
    DeviceKind kind() const override { return DeviceKind::cuda; }
    std::string description() const override {
        return fmt::format("{}, compute capability {}.{}, {}", properties_.name, properties_.major, properties_.minor,
                           format_bytes(static_cast<double>(properties_.totalGlobalMem)));
    }
    std::size_t memory_limit() const override { return properties_.totalGlobalMem; }

    void* allocate(std::size_t bytes) override {
        use_on_this_thread();
        void* memory = nullptr;
        cudaError_t const status = cudaMalloc(&memory, bytes);
        if (status == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            std::size_t free = 0, total = 0;
            SELVAGE_CUDA_CHECK(cudaMemGetInfo(&free, &total));
            fail(ExitCode::system,
                 "out of memory: {} more asked for, {} of {} free on GPU {}; use a smaller model, batch or cache, or "
                 "more GPUs",
                 format_bytes(static_cast<double>(bytes)), format_bytes(static_cast<double>(free)),
                 format_bytes(static_cast<double>(total)), index_);
        }
        check_cuda(status, "cudaMalloc", __FILE__, __LINE__);
        // Zeroed before any stream can use it: the streams of queues do not wait for the default one.
        SELVAGE_CUDA_CHECK(cudaMemset(memory, 0, bytes));
        SELVAGE_CUDA_CHECK(cudaStreamSynchronize(nullptr));
        return memory;
    }
    void release(void* memory, std::size_t) noexcept override { cudaFree(memory); }

    void* allocate_host(std::size_t bytes) override {
        use_on_this_thread();
        void* memory = nullptr;
        SELVAGE_CUDA_CHECK(cudaMallocHost(&memory, bytes));
        return memory;
    }
    void release_host(void* memory) noexcept override { cudaFreeHost(memory); }
    void synchronize() override {
        use_on_this_thread();
        SELVAGE_CUDA_CHECK(cudaDeviceSynchronize());
    }
    void use_on_this_thread() override { SELVAGE_CUDA_CHECK(cudaSetDevice(index_)); }
    std::unique_ptr<StreamQueue> make_queue() override { return make_cuda_queue(index_, watches()); }
    std::unique_ptr<EventMark> make_event() override { return make_cuda_event(index_); }

  private:
    int index_;
    cudaDeviceProp properties_{};
};

}  // namespace

int count_cuda_devices() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();  // not to be found again by the next call
    return 0;
}

std::unique_ptr<Device> make_cuda_device(int index) { return std::make_unique<CudaDevice>(index); }

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>

#include "device/stream.h"

namespace selvage {

// A CUDA stream with pinned memory for what goes up and down. `device` is the GPU's index.
class CudaQueue : public StreamQueue {
  public:
    // To device memory; `host` may be reused on return. Any size.
    virtual void copy_up(void* device_memory, void const* host, std::size_t bytes) = 0;
};

std::unique_ptr<CudaQueue> make_cuda_queue(int device);
std::unique_ptr<EventMark> make_cuda_event(int device);

}  // namespace selvage

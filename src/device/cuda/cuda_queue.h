// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>

#include "device/stream.h"
#include "device/watch.h"

namespace selvage {

// A CUDA stream with pinned memory for what goes up and down. `device` is the GPU's index; the watches, which must
// outlive the queue, look while the host waits for it.
std::unique_ptr<StreamQueue> make_cuda_queue(int device, Watches& watches);
std::unique_ptr<EventMark> make_cuda_event(int device);

}  // namespace selvage

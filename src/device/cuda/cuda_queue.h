// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>

#include "device/stream.h"

namespace selvage {

// A CUDA stream with pinned memory for what goes up and down. `device` is the GPU's index.
std::unique_ptr<StreamQueue> make_cuda_queue(int device);
std::unique_ptr<EventMark> make_cuda_event(int device);

}  // namespace selvage

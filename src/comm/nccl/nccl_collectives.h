// SPDX-License-Identifier: Apache-2.0
#pragma once
// In builds with SELVAGE_NCCL.
#include <array>

#include "comm/device_collectives.h"

namespace selvage {

// Of the GPU that this process uses (its UUID).
std::array<std::byte, 16> gpu_identity();

// An NCCL communicator of the same ranks, on the GPU that each of them uses. Collective.
std::unique_ptr<DeviceCollectives> make_nccl_collectives(Communicator& communicator);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// In builds with SELVAGE_NCCL.
#include "comm/device_collectives.h"

namespace selvage {

// Of the GPU that this process uses.
struct GpuIdentity {
    RankDevice::Identity uuid{};
    RankDevice::Identity place{};  // on its node's PCI bus
};
GpuIdentity gpu_identity();

// An NCCL communicator of the same ranks, on the GPU that each of them uses. Collective. An error of another rank or of
// the network is Error(system) from the next call, or from where the host waits for one of the device's streams.
std::unique_ptr<DeviceCollectives> make_nccl_collectives(Communicator& communicator, Device& device);

}  // namespace selvage

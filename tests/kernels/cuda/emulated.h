// SPDX-License-Identifier: Apache-2.0
#pragma once
// The CUDA kernels, run by the emulation, on host memory.
#include "kernels/cuda/operations.h"

namespace selvage::test {

inline kernels::Operations const& emulated() { return kernels::cuda::operations(); }

inline Stream& emulated_stream() {
    static auto const device = make_device("emulated");
    static Stream stream(*device);
    return stream;
}

// Under TSan every thread of a block is a thread of its own to it: small blocks and few of them.
#ifdef __SANITIZE_THREAD__
constexpr bool tiny = true;
#else
constexpr bool tiny = false;
#endif

}  // namespace selvage::test

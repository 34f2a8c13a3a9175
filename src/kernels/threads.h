// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace selvage::kernels {

// Threads of this process's kernels (OpenMP). Bits do not depend on the number.
void set_threads(std::int64_t threads);

}  // namespace selvage::kernels

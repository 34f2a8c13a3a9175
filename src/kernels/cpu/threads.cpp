// SPDX-License-Identifier: Apache-2.0
#include "kernels/threads.h"

#include <omp.h>

namespace selvage::kernels {

void set_threads(std::int64_t threads) { omp_set_num_threads(static_cast<int>(threads)); }

}  // namespace selvage::kernels

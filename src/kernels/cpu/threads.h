// SPDX-License-Identifier: Apache-2.0
#pragma once
// Threads split outputs only, so results never depend on their number.
#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace selvage::kernels {

// work(begin, end) over 0 .. count-1 in contiguous parts, multiples of `grain` but for the last. `cost` is about the
// number of floats touched in all; little work stays on the calling thread.
template <class Work>
void parallel_for(std::int64_t count, std::int64_t grain, std::int64_t cost, Work const& work) {
    std::int64_t const blocks = (count + grain - 1) / grain;
    std::int64_t const threads = std::min<std::int64_t>({omp_get_max_threads(), blocks, 1 + cost / 16384});
    if (threads <= 1) {
        if (count > 0) work(std::int64_t{0}, count);
        return;
    }
#pragma omp parallel num_threads(static_cast <int>(threads))
    {
        std::int64_t const team = omp_get_num_threads();
        std::int64_t const me = omp_get_thread_num();
        std::int64_t const begin = std::min(count, blocks * me / team * grain);
        std::int64_t const end = std::min(count, blocks * (me + 1) / team * grain);
        if (begin < end) work(begin, end);
    }
}

}  // namespace selvage::kernels

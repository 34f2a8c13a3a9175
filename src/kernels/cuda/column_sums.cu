// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/column_sums.h"

#include "device/cuda/launch.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int columns_at_once = 32;
constexpr int segments = 8;

// A warp has a segment of the chunks, a lane a column; the segments' sums are then added in order.
__global__ void __launch_bounds__(columns_at_once* segments)
    add_chunks_kernel(float* sums, float const* partial, std::int64_t chunks, std::int64_t columns) {
    __shared__ float segment_sums[segments][columns_at_once];
    unsigned const lane = threadIdx.x % columns_at_once;
    unsigned const segment = threadIdx.x / columns_at_once;
    std::int64_t const column = static_cast<std::int64_t>(blockIdx.x) * columns_at_once + lane;
    std::int64_t const each = (chunks + segments - 1) / segments;
    std::int64_t const end = min((segment + 1) * each, chunks);
    float sum = 0;
    if (column < columns) {
#pragma unroll 8
        for (std::int64_t chunk = segment * each; chunk < end; ++chunk) sum += partial[chunk * columns + column];
    }
    segment_sums[segment][lane] = sum;
    __syncthreads();
    if (segment != 0 || column >= columns) return;
    for (int i = 1; i < segments; ++i) sum += segment_sums[i][lane];
    sums[column] += sum;
}

}  // namespace

void add_chunks(float* sums, float const* partial, std::int64_t chunks, std::int64_t columns, Stream& stream) {
    if (chunks == 0) return;
    unsigned const blocks = static_cast<unsigned>((columns + columns_at_once - 1) / columns_at_once);
    launch(add_chunks_kernel, blocks, columns_at_once * segments, 0, stream, sums, partial, chunks, columns);
}

}  // namespace selvage::kernels::cuda

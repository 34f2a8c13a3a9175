// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sums over rows, by column, in two stages and an order that depends on the number of rows alone: the rows of a chunk
// one after the other, then the chunks.
#include <cstdint>

#include "device/device.h"

namespace selvage::kernels::cuda {

struct RowChunks {
    std::int64_t rows = 0;
    std::int64_t rows_each = 0;
    std::int64_t count = 0;
};
// Enough chunks to fill a GPU where there are rows enough.
constexpr RowChunks chunks_of(std::int64_t rows) {
    constexpr std::int64_t most = 512;
    std::int64_t const each = rows <= most ? 1 : (rows + most - 1) / most;
    return {rows, each, (rows + each - 1) / each};
}

// sums[columns] += partial[chunk, columns], summed over the chunks in order.
void add_chunks(float* sums, float const* partial, std::int64_t chunks, std::int64_t columns, Stream& stream);

}  // namespace selvage::kernels::cuda

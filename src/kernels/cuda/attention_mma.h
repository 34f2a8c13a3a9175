// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products of tiles in bf16 for attention, by a warp: 16 rows of results in registers as mma_m16n8k16 has them,
// [tiles of 8 columns][4]; operands are rows in shared memory or results as they lie in registers.
#include "device/cuda/launch.h"
#include "kernels/cuda/attention_work.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/reduce.h"

namespace selvage::kernels::cuda {

constexpr int warp_rows = 16;

// From one row in shared memory to the next, in elements. 16 bytes more than the row: with an odd number of 16 bytes,
// eight rows of a load_matrices lie in different banks.
template <int head>
constexpr int row_stride = head + 8;

// Starts the copy of `rows` rows to shared memory by all threads of the block. row(i) is where row i begins, or null:
// zeros. Columns past head_size are zeros.
template <int head, class Row>
__device__ void copy_rows(BFloat16* to, int rows, int head_size, BFloat16 const* anywhere, Row const& row) {
    constexpr int vectors = head / 8;
    for (int i = static_cast<int>(threadIdx.x); i < rows * vectors; i += static_cast<int>(blockDim.x)) {
        int const column = i % vectors * 8;
        BFloat16 const* const from = row(i / vectors);
        bool const there = from != nullptr && column < head_size;
        cp_async(to + i / vectors * row_stride<head> + column, there ? from + column : anywhere, there ? 16 : 0);
    }
}

// Left factor: 16 rows, columns column .. column + 15.
template <int head>
__device__ void load_left(std::uint32_t (&a)[4], BFloat16 const* rows, int column) {
    int const lane = static_cast<int>(threadIdx.x % 32);
    load_matrices(a, rows + lane % 16 * row_stride<head> + column + lane / 16 * 8);
}

// d[16, 16] += a b; b as two products' right factors.
__device__ inline void multiply_add(float (&low)[4], float (&high)[4], std::uint32_t const (&a)[4],
                                    std::uint32_t const (&b)[4]) {
    std::uint32_t const first[2] = {b[0], b[1]};
    std::uint32_t const second[2] = {b[2], b[3]};
    mma_m16n8k16(low, a, first);
    mma_m16n8k16(high, a, second);
}

// d += a rows^T for 16 columns of the left factor, the rows' columns column .. column + 15.
template <int head, int tiles>
__device__ void multiply_rows(float (&d)[tiles][4], std::uint32_t const (&a)[4], BFloat16 const* rows, int column) {
    int const lane = static_cast<int>(threadIdx.x % 32);
    BFloat16 const* const from = rows + (lane % 8 + lane / 16 * 8) * row_stride<head> + column + lane / 8 % 2 * 8;
#pragma unroll
    for (int tile = 0; tile < tiles; tile += 2) {
        std::uint32_t b[4];
        load_matrices(b, from + tile * 8 * row_stride<head>);
        multiply_add(d[tile], d[tile + 1], a, b);
    }
}

template <int tiles>
__device__ void clear(float (&d)[tiles][4]) {
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile)
        for (int i = 0; i < 4; ++i) d[tile][i] = 0;
}

// d = left rows^T: 16 rows by 8 tiles rows, over the head's columns ascending.
template <int head, int tiles>
__device__ void score(float (&d)[tiles][4], BFloat16 const* left, BFloat16 const* rows) {
    clear(d);
#pragma unroll
    for (int column = 0; column < head; column += 16) {
        std::uint32_t a[4];
        load_left<head>(a, left, column);
        multiply_rows<head>(d, a, rows, column);
    }
}

// d += weights rows: weights [16, 8 k_tiles], rounded to bf16, by as many rows, over the rows ascending; d has 8 tiles
// of the rows' columns.
template <int head, int tiles, int k_tiles>
__device__ void add_weighted(float (&d)[tiles][4], float const (&weights)[k_tiles][4], BFloat16 const* rows) {
    int const lane = static_cast<int>(threadIdx.x % 32);
    BFloat16 const* const from = rows + lane % 16 * row_stride<head> + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < k_tiles; k += 2) {
        std::uint32_t const a[4] = {round_pair(weights[k][0], weights[k][1]), round_pair(weights[k][2], weights[k][3]),
                                    round_pair(weights[k + 1][0], weights[k + 1][1]),
                                    round_pair(weights[k + 1][2], weights[k + 1][3])};
#pragma unroll
        for (int tile = 0; tile < tiles; tile += 2) {
            std::uint32_t b[4];
            load_matrices_transposed(b, from + k * 8 * row_stride<head> + tile * 8);
            multiply_add(d[tile], d[tile + 1], a, b);
        }
    }
}

// Where the caller's elements of a result lie: rows row() and row() + 8 of the warp's 16, columns column() and the next
// of each tile.
__device__ inline int own_row() { return static_cast<int>(threadIdx.x % 32 / 4); }
__device__ inline int own_column() { return static_cast<int>(threadIdx.x % 4 * 2); }

// Over the four lanes that have a row, in the order 1, 2 apart.
template <class Combine>
__device__ float over_row(float value, Combine combine) {
    value = combine(value, __shfl_xor_sync(all_lanes, value, 1));
    return combine(value, __shfl_xor_sync(all_lanes, value, 2));
}

// Calls work.operator()<head>() with the padded size.
template <class Work>
void with_padded_head(int head_size, Work const& work) {
    switch (padded_head(head_size)) {
        case 16:
            return work.template operator()<16>();
        case 32:
            return work.template operator()<32>();
        case 64:
            return work.template operator()<64>();
        case 80:
            return work.template operator()<80>();
        case 96:
            return work.template operator()<96>();
        case 128:
            return work.template operator()<128>();
        case 256:
            return work.template operator()<256>();
    }
    fail(ExitCode::internal, "head size {}", head_size);
}

}  // namespace selvage::kernels::cuda

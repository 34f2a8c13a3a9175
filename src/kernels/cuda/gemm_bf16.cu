// SPDX-License-Identifier: Apache-2.0
// Products in bfloat16 with sums in fp32, by matrix instructions of a warp. An output is one chain of them over
// ascending k, 16 at a time, whatever the tile: no sum is split, neither over warps nor over blocks.
#include "device/cuda/launch.h"
#include "kernels/arguments.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/gemm_product.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int tile_k = 64;  // of k at a time

// What a block computes, and how its warps share it. Stages are tiles of k under way at once.
template <int rows_, int columns_, int warp_rows_, int warp_columns_, int stages_>
struct Tile {
    static constexpr int rows = rows_, columns = columns_, stages = stages_;
    static constexpr int warp_rows = warp_rows_, warp_columns = warp_columns_;
    static constexpr int warps_across = columns / warp_columns;
    static constexpr int threads = rows / warp_rows * warps_across * 32;
    static constexpr int stage_elements = (rows + columns) * tile_k;
    static constexpr std::size_t shared_bytes = sizeof(BFloat16) * stages * stage_elements;
    static constexpr int blocks = 200 * 1024 / shared_bytes;  // at once on a multiprocessor
};
using Wide = Tile<128, 128, 64, 32, 3>;
using Middle = Tile<64, 64, 32, 32, 4>;
using Narrow = Tile<16, 64, 16, 16, 6>;
using Single = Tile<16, 16, 16, 16, 8>;

// Element (i, x) of the operand, i a row or column of c and x of k, lies at [i][x], or at [x][i] where k is outermost.
struct Operand {
    BFloat16 const* data;
    std::int64_t count;  // of i
    bool aligned;        // rows can be read 16 bytes at a time
};

template <class Out>
struct Bf16Gemm {
    Out* c;
    Operand a, b;
    float const* bias;
    std::int64_t k;
    bool add;
    bool pairs;  // rows of c can be written two elements at a time
};

// Where 8 elements lie in a tile whose rows have `columns`: neighbouring rows are shifted against each other, so that 8
// rows at one place are in different banks.
template <int columns>
__device__ int place(int row, int eighth) {
    constexpr int shifts = columns / 8 < 8 ? columns / 8 : 8;
    return row * columns + (eighth ^ row % shifts) * 8;
}

// `valid` elements, up to 8, one at a time; then zeros.
__device__ inline uint4 gather(BFloat16 const* from, int valid) {
    unsigned halves[8];
    for (int i = 0; i < 8; ++i) halves[i] = i < valid ? from[i].bits : 0U;
    return {halves[0] | halves[1] << 16, halves[2] | halves[3] << 16, halves[4] | halves[5] << 16,
            halves[6] | halves[7] << 16};
}

// Starts the copy of [size][tile_k] elements, or of [tile_k][size], from (first, first_k) on; zeros outside.
template <bool k_outermost, int size, int threads>
__device__ void load_tile(BFloat16* shared, Operand const& from, std::int64_t first, std::int64_t first_k,
                          std::int64_t k) {
    constexpr int columns = k_outermost ? size : tile_k;
    constexpr int eighths = columns / 8;
    std::int64_t const first_row = k_outermost ? first_k : first;
    std::int64_t const rows = k_outermost ? k : from.count;
    std::int64_t const first_column = k_outermost ? first : first_k;
    std::int64_t const length = k_outermost ? from.count : k;
#pragma unroll
    for (int i = static_cast<int>(threadIdx.x); i < size * tile_k / 8; i += threads) {
        std::int64_t const row = first_row + i / eighths;
        std::int64_t const column = first_column + i % eighths * 8;
        std::int64_t const left = row < rows ? length - column : 0;
        int const valid = left >= 8 ? 8 : left > 0 ? static_cast<int>(left) : 0;
        BFloat16 const* const source = valid > 0 ? from.data + row * length + column : from.data;
        BFloat16* const to = shared + place<columns>(i / eighths, i % eighths);
        if (from.aligned)
            cp_async(to, source, valid * 2);
        else
            *reinterpret_cast<uint4*>(to) = gather(source, valid);
    }
}

// The registers of 16 rows or columns of c from `first` on by 16 of k. Matrix l / 8, whose rows lane l addresses, is
// the given half of them and of k.
template <bool k_outermost, int size>
__device__ void load_fragments(std::uint32_t (&registers)[4], BFloat16 const* shared, int first, int first_k, int half,
                               int k_half) {
    int const row = static_cast<int>(threadIdx.x) % 8;
    if constexpr (k_outermost)
        load_matrices_transposed(registers, shared + place<size>(first_k + 8 * k_half + row, first / 8 + half));
    else
        load_matrices(registers, shared + place<tile_k>(first + 8 * half + row, first_k / 8 + k_half));
}

template <class T>
struct Sums {
    static constexpr int row_tiles = T::warp_rows / 16, column_tiles = T::warp_columns / 8;
    float values[row_tiles][column_tiles][4];
};

// Adds the products of one tile of k; the warp's outputs begin at (row, column) of the block.
template <class T, bool a_transposed, bool b_transposed>
__device__ void multiply_tile(Sums<T>& sums, BFloat16 const* a, BFloat16 const* b, int row, int column) {
    int const matrix = static_cast<int>(threadIdx.x) % 32 / 8;
#pragma unroll
    for (int x = 0; x < tile_k; x += 16) {
        std::uint32_t of_a[Sums<T>::row_tiles][4];
        std::uint32_t of_b[Sums<T>::column_tiles / 2][4];
#pragma unroll
        for (int i = 0; i < Sums<T>::row_tiles; ++i)
            load_fragments<a_transposed, T::rows>(of_a[i], a, row + 16 * i, x, matrix % 2, matrix / 2);
#pragma unroll
        for (int j = 0; j < Sums<T>::column_tiles / 2; ++j)
            load_fragments<!b_transposed, T::columns>(of_b[j], b, column + 16 * j, x, matrix / 2, matrix % 2);
#pragma unroll
        for (int i = 0; i < Sums<T>::row_tiles; ++i)
#pragma unroll
            for (int j = 0; j < Sums<T>::column_tiles; ++j)
                mma_m16n8k16(sums.values[i][j], of_a[i], {of_b[j / 2][j % 2 * 2], of_b[j / 2][j % 2 * 2 + 1]});
    }
}

// Two outputs of a row.
template <class Out>
__device__ void store_pair(Bf16Gemm<Out> const& g, std::int64_t row, std::int64_t column, float first, float second) {
    if (row >= g.a.count || column >= g.b.count) return;
    bool const both = column + 1 < g.b.count;
    if (g.bias != nullptr) {
        first += g.bias[column];
        if (both) second += g.bias[column + 1];
    }
    Out* const to = g.c + row * g.b.count + column;
    if (g.add) {
        first = widen(to[0]) + first;
        if (both) second = widen(to[1]) + second;
    }
    if (both && g.pairs) {
        if constexpr (sizeof(Out) == sizeof(float))
            *reinterpret_cast<float2*>(to) = make_float2(first, second);
        else
            *reinterpret_cast<unsigned*>(to) = round_pair(first, second);
        return;
    }
    to[0] = narrow<Out>(first);
    if (both) to[1] = narrow<Out>(second);
}

template <class T, bool a_transposed, bool b_transposed, class Out>
__global__ void __launch_bounds__(T::threads, T::blocks) gemm_bf16_kernel(Bf16Gemm<Out> g) {
    SELVAGE_DYNAMIC_SHARED(BFloat16, shared);
    std::int64_t const first_row = std::int64_t{blockIdx.x} * T::rows;
    std::int64_t const first_column = std::int64_t{blockIdx.y} * T::columns;
    auto const load = [&](std::int64_t tile) {
        BFloat16* const stage = shared + tile % T::stages * T::stage_elements;
        std::int64_t const x = tile * tile_k;
        if (x < g.k) {
            load_tile<a_transposed, T::rows, T::threads>(stage, g.a, first_row, x, g.k);
            load_tile<!b_transposed, T::columns, T::threads>(stage + T::rows * tile_k, g.b, first_column, x, g.k);
        }
        cp_async_commit();
    };
    for (int tile = 0; tile < T::stages - 1; ++tile) load(tile);

    int const warp = static_cast<int>(threadIdx.x) / 32;
    int const row = warp / T::warps_across * T::warp_rows;
    int const column = warp % T::warps_across * T::warp_columns;
    Sums<T> sums{};
    for (std::int64_t tile = 0; tile * tile_k < g.k; ++tile) {
        cp_async_wait<T::stages - 2>();
        __syncthreads();  // this tile is there for all, and nobody reads the one before, whose place is next
        load(tile + T::stages - 1);
        BFloat16 const* const stage = shared + tile % T::stages * T::stage_elements;
        multiply_tile<T, a_transposed, b_transposed>(sums, stage, stage + T::rows * tile_k, row, column);
    }

    int const lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < Sums<T>::row_tiles; ++i)
#pragma unroll
        for (int j = 0; j < Sums<T>::column_tiles; ++j) {
            float const(&sum)[4] = sums.values[i][j];
            std::int64_t const r = first_row + row + 16 * i + lane / 4;
            std::int64_t const s = first_column + column + 8 * j + lane % 4 * 2;
            store_pair(g, r, s, sum[0], sum[1]);
            store_pair(g, r + 8, s, sum[2], sum[3]);
        }
}

bool is_aligned(void const* address, std::size_t bytes) {
    return reinterpret_cast<std::uintptr_t>(address) % bytes == 0;
}

Operand operand_of(TensorView view, std::int64_t count, std::int64_t length) {
    auto const* const data = view.as<BFloat16>();
    return {data, count, length % 8 == 0 && is_aligned(data, 16)};
}

template <class T, bool a_transposed, bool b_transposed, class Out>
void multiply_by(MatrixProduct const& p, Stream& stream) {
    Out* const c = p.c.as<Out>();
    Bf16Gemm<Out> const g{.c = c,
                          .a = operand_of(p.a, p.m, a_transposed ? p.m : p.k),
                          .b = operand_of(p.b, p.n, b_transposed ? p.k : p.n),
                          .bias = optional<float>(p.bias),
                          .k = p.k,
                          .add = p.add,
                          .pairs = p.n % 2 == 0 && is_aligned(c, 2 * sizeof(Out))};
    dim3 const grid(static_cast<unsigned>((p.m + T::rows - 1) / T::rows),
                    static_cast<unsigned>((p.n + T::columns - 1) / T::columns));
    launch(gemm_bf16_kernel<T, a_transposed, b_transposed, Out>, grid, T::threads, T::shared_bytes, stream, g);
}

// Gradients of weights, forward products, gradients of inputs.
template <class T, class Out>
void multiply_in(MatrixProduct const& p, Stream& stream) {
    SELVAGE_CHECK(!p.a_transposed || !p.b_transposed, "a product of two transposed matrices");
    if (p.b_transposed) return multiply_by<T, false, true, Out>(p, stream);
    if (!p.a_transposed) return multiply_by<T, false, false, Out>(p, stream);
    if constexpr (sizeof(Out) == sizeof(float))
        multiply_by<T, true, false, Out>(p, stream);
    else
        SELVAGE_CHECK(!p.a_transposed, "gradients of weights in {}", name_of(p.c.dtype()));
}

template <class T>
void multiply_with(MatrixProduct const& p, Stream& stream) {
    with_element(p.c, [&]<class Out>() { multiply_in<T, Out>(p, stream); });
}

}  // namespace

Bf16Tile choose_tile(std::int64_t m, std::int64_t n) {
    constexpr std::int64_t enough = 128;  // blocks, to have work for every multiprocessor
    auto const blocks = [&](std::int64_t rows, std::int64_t columns) {
        return ((m + rows - 1) / rows) * ((n + columns - 1) / columns);
    };
    if (m <= Single::rows) return blocks(Narrow::rows, Narrow::columns) >= enough ? Bf16Tile::narrow : Bf16Tile::single;
    return m > Middle::rows && blocks(Wide::rows, Wide::columns) >= enough ? Bf16Tile::wide : Bf16Tile::middle;
}

void multiply_bf16(MatrixProduct const& p, Bf16Tile tile, Stream& stream) {
    switch (tile) {
        case Bf16Tile::wide:
            return multiply_with<Wide>(p, stream);
        case Bf16Tile::middle:
            return multiply_with<Middle>(p, stream);
        case Bf16Tile::narrow:
            return multiply_with<Narrow>(p, stream);
        case Bf16Tile::single:
            return multiply_with<Single>(p, stream);
    }
}

}  // namespace selvage::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
// Products in fp32: plain tiles, in the order of sums of the CPU backend.
#include "device/cuda/launch.h"
#include "kernels/arguments.h"
#include "kernels/cuda/gemm_product.h"
#include "kernels/gemm.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int tile = 64;       // rows and columns of a block
constexpr int tile_k = 16;     // of k at a time; divides gemm_k_block()
constexpr int per_thread = 4;  // rows and columns of a thread, 16 apart
constexpr int side = tile / per_thread;
constexpr int threads = side * side;

// Element (i, x) lies at i * stride + x * k_stride; one of the strides is 1.
struct Operand {
    float const* data;
    std::int64_t rows, stride, k_stride;
};

struct F32Gemm {
    float* c;
    Operand a, b;
    float const* bias;
    std::int64_t n, k;
    int k_block;
    bool add;
};

// Rows first_row.. at k first.. to shared[k][row]; zeros outside. Threads read along what is contiguous.
__device__ void load_tile(float (*shared)[tile + 1], Operand const& from, std::int64_t first_row, std::int64_t first,
                          std::int64_t k) {
    for (int i = static_cast<int>(threadIdx.x); i < tile * tile_k; i += threads) {
        int const row = from.k_stride == 1 ? i / tile_k : i % tile;
        int const x = from.k_stride == 1 ? i % tile_k : i / tile;
        bool const inside = first_row + row < from.rows && first + x < k;
        std::int64_t const at = (first_row + row) * from.stride + (first + x) * from.k_stride;
        shared[x][row] = inside ? from.data[at] : 0.0F;
    }
}

__global__ void __launch_bounds__(threads) gemm_f32_kernel(F32Gemm g) {
    __shared__ float a[tile_k][tile + 1];
    __shared__ float b[tile_k][tile + 1];
    std::int64_t const first_row = std::int64_t{blockIdx.x} * tile;
    std::int64_t const first_column = std::int64_t{blockIdx.y} * tile;
    int const row = static_cast<int>(threadIdx.x) / side;
    int const column = static_cast<int>(threadIdx.x) % side;
    float sum[per_thread][per_thread] = {};    // of this block of k
    float total[per_thread][per_thread] = {};  // of those before
    for (std::int64_t first = 0; first < g.k; first += tile_k) {
        load_tile(a, g.a, first_row, first, g.k);
        load_tile(b, g.b, first_column, first, g.k);
        __syncthreads();
        int const count = static_cast<int>(min(std::int64_t{tile_k}, g.k - first));
        for (int x = 0; x < count; ++x)
            for (int i = 0; i < per_thread; ++i)
                for (int j = 0; j < per_thread; ++j)
                    sum[i][j] = fmaf(a[x][row + i * side], b[x][column + j * side], sum[i][j]);
        __syncthreads();
        std::int64_t const end = first + tile_k;
        if (end < g.k && end % g.k_block != 0) continue;
        for (int i = 0; i < per_thread; ++i)
            for (int j = 0; j < per_thread; ++j) {
                total[i][j] = end <= g.k_block ? sum[i][j] : total[i][j] + sum[i][j];
                sum[i][j] = 0;
            }
    }
    for (int i = 0; i < per_thread; ++i)
        for (int j = 0; j < per_thread; ++j) {
            std::int64_t const r = first_row + row + i * side;
            std::int64_t const s = first_column + column + j * side;
            if (r >= g.a.rows || s >= g.n) continue;
            float value = total[i][j];
            if (g.bias != nullptr) value += g.bias[s];
            float& c = g.c[r * g.n + s];
            c = g.add ? c + value : value;
        }
}

Operand operand_of(TensorView view, std::int64_t rows, std::int64_t k, bool k_contiguous) {
    return {view.as<float>(), rows, k_contiguous ? k : 1, k_contiguous ? 1 : rows};
}

}  // namespace

void multiply_f32(MatrixProduct const& p, Stream& stream) {
    F32Gemm const g{.c = p.c.as<float>(),
                    .a = operand_of(p.a, p.m, p.k, !p.a_transposed),
                    .b = operand_of(p.b, p.n, p.k, p.b_transposed),
                    .bias = optional<float>(p.bias),
                    .n = p.n,
                    .k = p.k,
                    .k_block = static_cast<int>(gemm_k_block(p.k)),
                    .add = p.add};
    auto const tiles = [](std::int64_t size) { return static_cast<unsigned>((size + tile - 1) / tile); };
    launch(gemm_f32_kernel, dim3(tiles(p.m), tiles(p.n)), threads, 0, stream, g);
}

}  // namespace selvage::kernels::cuda

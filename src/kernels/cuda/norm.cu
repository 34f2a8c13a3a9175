// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.h"

#include <algorithm>

#include "kernels/cuda/elements.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/reduce.h"
#include "kernels/norm_arguments.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int most_threads = 1024;

// A row is a block's. Each thread has up to `held` vectors of `width` elements, blockDim.x vectors apart, and keeps
// them in registers, so that the row is read once.
template <class E, int width, int held>
__global__ void __launch_bounds__(most_threads) rmsnorm_forward_kernel(NormForward<E> norm) {
    __shared__ float warp_sums[32];
    std::int64_t const offset = blockIdx.x * norm.hidden;
    int const hidden = static_cast<int>(norm.hidden);
    int const first = static_cast<int>(threadIdx.x) * width;
    int const step = static_cast<int>(blockDim.x) * width;
    Vector<width> x[held];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < held; ++i) {
        int const column = first + i * step;
        if (column >= hidden) break;
        x[i] = load<width>(norm.in + offset + column);
        if (norm.branch != nullptr) {
            Vector<width> const branch = load<width>(norm.branch + offset + column);
            for (int j = 0; j < width; ++j) x[i][j] += branch[j];
            store(norm.sum + offset + column, x[i]);
        }
        for (int j = 0; j < width; ++j) squares = fmaf(x[i][j], x[i][j], squares);
    }
    squares = over_block(squares, 0.0F, warp_sums, Sum{});
    float const rstd = 1.0F / sqrtf(squares / static_cast<float>(hidden) + norm.epsilon);
#pragma unroll
    for (int i = 0; i < held; ++i) {
        int const column = first + i * step;
        if (column >= hidden) break;
        Vector<width> const weight = load<width>(norm.weight + column);
        for (int j = 0; j < width; ++j) x[i][j] = x[i][j] * rstd * weight[j];
        store(norm.out + offset + column, x[i]);
    }
    if (norm.rstd != nullptr && threadIdx.x == 0) norm.rstd[blockIdx.x] = rstd;
}

// Calls work.operator()<width, held>(threads). Width and threads are a function of the row's length alone, and with
// them the order of a row's sums.
template <class Work>
void with_row_shape(std::int64_t hidden, Work const& work) {
    auto const choose = [&]<int width>() {
        std::int64_t const vectors = hidden / width;
        std::int64_t const threads = std::clamp<std::int64_t>((vectors + 3) / 4 + 31, 32, most_threads) / 32 * 32;
        SELVAGE_CHECK(vectors <= 8 * threads, "rows of {} elements", hidden);
        if (vectors <= 4 * threads) return work.template operator()<width, 4>(static_cast<unsigned>(threads));
        work.template operator()<width, 8>(static_cast<unsigned>(threads));
    };
    if (hidden % 4 == 0) return choose.template operator()<4>();
    choose.template operator()<1>();
}

}  // namespace

void rmsnorm_forward(TensorView out, TensorView rstd, TensorView sum, TensorView in, TensorView branch,
                     TensorView weight, float epsilon, Stream& stream) {
    with_element(out, [&]<class E>() {
        auto const norm = forward_of<E>({out, {}, rstd, sum, in, branch, weight, {}}, epsilon);
        dim3 const rows(static_cast<unsigned>(rows_of(in, weight)));
        with_row_shape(norm.hidden, [&]<int width, int held>(unsigned threads) {
            launch(rmsnorm_forward_kernel<E, width, held>, rows, threads, 0, stream, norm);
        });
    });
}

void fill_norm(Operations& operations) { operations.rmsnorm_forward = rmsnorm_forward; }

}  // namespace selvage::kernels::cuda

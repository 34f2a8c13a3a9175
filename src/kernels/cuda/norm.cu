// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.h"

#include <algorithm>

#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/reduce.h"
#include "kernels/norm_arguments.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int most_threads = 1024;
constexpr int most_backward_threads = 512;  // a row and its gradient need twice the registers

enum class Kind : std::uint8_t { rmsnorm, layernorm };

// The columns of a row that a thread has: up to `held` vectors of `width` elements, blockDim.x vectors apart.
template <int width, int held, class Work>
__device__ void over_columns(std::int64_t hidden, Work const& work) {
    int const step = static_cast<int>(blockDim.x) * width;
    int column = static_cast<int>(threadIdx.x) * width;
#pragma unroll
    for (int i = 0; i < held; ++i, column += step)
        if (column < hidden) work(i, column);
}

// A row is a block's, and stays in registers, so that it is read once.
template <Kind kind, class E, class In, int width, int held>
__global__ void __launch_bounds__(most_threads) norm_forward_kernel(NormForward<E, In> norm) {
    __shared__ float warp_sums[2][32];
    std::int64_t const offset = blockIdx.x * norm.hidden;
    auto const count = static_cast<float>(norm.hidden);
    Vector<width> x[held];
    float sum = 0, squares = 0;
    over_columns<width, held>(norm.hidden, [&](int i, int column) {
        x[i] = load<width>(norm.in + offset + column);
        if (norm.branch != nullptr) {
            Vector<width> const branch = load<width>(norm.branch + offset + column);
            for (int j = 0; j < width; ++j) x[i][j] += branch[j];
            store(norm.sum + offset + column, x[i]);
        }
        for (int j = 0; j < width; ++j) sum += x[i][j];
    });
    float mean = 0;
    if constexpr (kind == Kind::layernorm) mean = over_block(sum, 0.0F, warp_sums[0], Sum{}) / count;
    over_columns<width, held>(norm.hidden, [&](int i, int) {
        for (int j = 0; j < width; ++j) {
            if constexpr (kind == Kind::layernorm) x[i][j] -= mean;
            squares = fmaf(x[i][j], x[i][j], squares);
        }
    });
    squares = over_block(squares, 0.0F, warp_sums[1], Sum{});
    float const rstd = 1.0F / sqrtf(squares / count + norm.epsilon);
    over_columns<width, held>(norm.hidden, [&](int i, int column) {
        Vector<width> const weight = load<width>(norm.weight + column);
        Vector<width> bias{};
        if constexpr (kind == Kind::layernorm) bias = load<width>(norm.bias + column);
        for (int j = 0; j < width; ++j) {
            float const normal = x[i][j] * rstd;
            x[i][j] = kind == Kind::layernorm ? fmaf(normal, weight[j], bias[j]) : normal * (weight[j] + norm.offset);
        }
        store(norm.out + offset + column, x[i]);
    });
    if (threadIdx.x != 0) return;
    if (norm.mean != nullptr) norm.mean[blockIdx.x] = mean;
    if (norm.rstd != nullptr) norm.rstd[blockIdx.x] = rstd;
}

// The gradients of weight and bias, summed over a chunk of rows [chunks, hidden].
struct ChunkSums {
    float* weight;
    float* bias;
};

// A chunk of rows is a block's, one row after the other. Where a thread has few columns it keeps the row's values in
// registers, else it reads them again (from cache). The columns' sums are in shared memory, each used by one thread.
template <Kind kind, class E, class In, int width, int held>
__global__ void __launch_bounds__(most_backward_threads)
    norm_backward_kernel(NormBackward<E, In> norm, RowChunks chunks, ChunkSums partial) {
    constexpr bool centered = kind == Kind::layernorm;
    constexpr bool keep = held <= 4;
    // Taken in turn by rows: the __syncthreads() of a row is between two uses of the same.
    __shared__ float warp_sums[2][2][32];
    auto const count = static_cast<float>(norm.hidden);
    SELVAGE_DYNAMIC_SHARED(float, weight_sums);
    float* const bias_sums = weight_sums + norm.hidden;  // layer norm only
    std::int64_t const first = blockIdx.x * chunks.rows_each;
    std::int64_t const end = min(first + chunks.rows_each, chunks.rows);
    for (std::int64_t row = first; row < end; ++row) {
        std::int64_t const offset = row * norm.hidden;
        float const rstd = norm.rstd[row];
        float const mean = centered ? norm.mean[row] : 0.0F;
        Vector<width> normals[keep ? held : 1] = {}, gradients[keep ? held : 1] = {};
        auto const factor_of = [](auto const& of, int column) {
            Vector<width> weight = load<width>(of.weight + column);
            if constexpr (!centered)
                for (int j = 0; j < width; ++j) weight[j] += of.offset;
            return weight;
        };
        auto const read = [&](int column, Vector<width>& normal, Vector<width>& gradient) {
            normal = load<width>(norm.in + offset + column);
            gradient = load<width>(norm.d_out + offset + column);
            for (int j = 0; j < width; ++j) normal[j] = (centered ? normal[j] - mean : normal[j]) * rstd;
        };
        float sum = 0, product = 0;
        over_columns<width, held>(norm.hidden, [&](int i, int column) {
            Vector<width>&normal = normals[keep ? i : 0], &d = gradients[keep ? i : 0];
            read(column, normal, d);
            Vector<width> const weight = factor_of(norm, column);
            Vector<width> weight_sum{}, bias_sum{};
            if (row > first) weight_sum = load<width>(weight_sums + column);
            if (centered && row > first) bias_sum = load<width>(bias_sums + column);
            for (int j = 0; j < width; ++j) {
                float const g = d[j] * weight[j];
                sum += g;
                product = fmaf(g, normal[j], product);
                weight_sum[j] = fmaf(d[j], normal[j], weight_sum[j]);
                bias_sum[j] += d[j];
            }
            store(weight_sums + column, weight_sum);
            if (centered) store(bias_sums + column, bias_sum);
        });
        float const mean_product = over_block(product, 0.0F, warp_sums[row % 2][0], Sum{}) / count;
        float mean_g = 0;
        if constexpr (centered) mean_g = over_block(sum, 0.0F, warp_sums[row % 2][1], Sum{}) / count;
        over_columns<width, held>(norm.hidden, [&](int i, int column) {
            Vector<width>&normal = normals[keep ? i : 0], &d = gradients[keep ? i : 0];
            if constexpr (!keep) read(column, normal, d);
            Vector<width> const weight = factor_of(norm, column);
            Vector<width> before{};
            if (norm.add) before = load<width>(norm.d_in + offset + column);
            for (int j = 0; j < width; ++j) {
                float const g = centered ? d[j] * weight[j] - mean_g : d[j] * weight[j];
                d[j] = (g - normal[j] * mean_product) * rstd;
                if (norm.add) d[j] = before[j] + d[j];
            }
            if (norm.d_in != nullptr) store(norm.d_in + offset + column, d);
            if (norm.d_in_compute != nullptr) store(norm.d_in_compute + offset + column, d);
        });
    }
    over_columns<width, held>(norm.hidden, [&](int, int column) {
        std::int64_t const place = blockIdx.x * norm.hidden + column;
        store(partial.weight + place, load<width>(weight_sums + column));
        if (centered) store(partial.bias + place, load<width>(bias_sums + column));
    });
}

// Calls work.operator()<width, held>(threads). Width and threads are a function of the row's length alone, and with
// them the order of a row's sums.
template <class Work>
void with_row_shape(std::int64_t hidden, std::int64_t most, Work const& work) {
    auto const choose = [&]<int width>() {
        std::int64_t const vectors = hidden / width;
        std::int64_t const threads = std::clamp<std::int64_t>((vectors + 3) / 4 + 31, 32, most) / 32 * 32;
        SELVAGE_CHECK(vectors <= 8 * threads, "rows of {} elements", hidden);
        if (vectors <= 4 * threads) return work.template operator()<width, 4>(static_cast<unsigned>(threads));
        work.template operator()<width, 8>(static_cast<unsigned>(threads));
    };
    if (hidden % 4 == 0) return choose.template operator()<4>();
    choose.template operator()<1>();
}

template <Kind kind, class E, class In>
void forward(NormForward<E, In> const& norm, std::int64_t rows, Stream& stream) {
    with_row_shape(norm.hidden, most_threads, [&]<int width, int held>(unsigned threads) {
        launch(norm_forward_kernel<kind, E, In, width, held>, static_cast<unsigned>(rows), threads, 0, stream, norm);
    });
}
template <Kind kind>
void forward(NormForwardTensors const& t, float epsilon, Stream& stream) {
    std::int64_t const rows = rows_of(t.in, t.weight);
    if constexpr (kind == Kind::rmsnorm)
        if (t.in.dtype() == DType::bf16) return forward<kind>(forward_of<BFloat16, BFloat16>(t, epsilon), rows, stream);
    with_element(t.out, [&]<class E>() { forward<kind>(forward_of<E>(t, epsilon), rows, stream); });
}

template <Kind kind, class E, class In>
void backward(NormBackward<E, In> const& norm, std::int64_t rows, Stream& stream) {
    RowChunks const chunks = chunks_of(rows);
    auto const size = static_cast<std::size_t>(chunks.count * norm.hidden);
    std::size_t const sums_kept = kind == Kind::layernorm ? 2 : 1;
    std::size_t const shared = sums_kept * static_cast<std::size_t>(norm.hidden) * sizeof(float);
    float* const partial = scratch<float>(sums_kept * size, stream);
    ChunkSums const sums{partial, partial + size};
    dim3 const blocks(static_cast<unsigned>(chunks.count));
    with_row_shape(norm.hidden, most_backward_threads, [&]<int width, int held>(unsigned threads) {
        launch(norm_backward_kernel<kind, E, In, width, held>, blocks, threads, shared, stream, norm, chunks, sums);
    });
    add_chunks(norm.d_weight, sums.weight, chunks.count, norm.hidden, stream);
    if (kind == Kind::layernorm) add_chunks(norm.d_bias, sums.bias, chunks.count, norm.hidden, stream);
}
template <Kind kind>
void backward(NormBackwardTensors const& t, Accumulate accumulate, Stream& stream) {
    std::int64_t const rows = rows_of(t.in, t.weight);
    if constexpr (kind == Kind::rmsnorm)
        if (t.in.dtype() == DType::bf16)
            return backward<kind>(backward_of<BFloat16, BFloat16>(t, accumulate), rows, stream);
    with_element(t.d_in_compute, [&]<class E>() { backward<kind>(backward_of<E>(t, accumulate), rows, stream); });
}

}  // namespace

void rmsnorm_forward(TensorView out, TensorView rstd, TensorView sum, TensorView in, TensorView branch,
                     NormWeight const& weight, float epsilon, Stream& stream) {
    forward<Kind::rmsnorm>({out, {}, rstd, sum, in, branch, weight.value, {}, weight.offset}, epsilon, stream);
}

void layernorm_forward(TensorView out, TensorView mean, TensorView rstd, TensorView sum, TensorView in,
                       TensorView branch, TensorView weight, TensorView bias, float epsilon, Stream& stream) {
    check_same(bias, weight);
    forward<Kind::layernorm>({out, mean, rstd, sum, in, branch, weight, bias}, epsilon, stream);
}

void rmsnorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                      TensorView d_out, TensorView in, TensorView rstd, NormWeight const& weight, Stream& stream) {
    backward<Kind::rmsnorm>({d_in, d_in_compute, d_weight, {}, d_out, in, {}, rstd, weight.value, weight.offset},
                            accumulate, stream);
}

void layernorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                        TensorView d_bias, TensorView d_out, TensorView in, TensorView mean, TensorView rstd,
                        TensorView weight, Stream& stream) {
    check_same(d_bias, weight);
    check_same(mean, rstd);
    backward<Kind::layernorm>({d_in, d_in_compute, d_weight, d_bias, d_out, in, mean, rstd, weight}, accumulate,
                              stream);
}

void fill_norm(Operations& operations) {
    operations.rmsnorm_forward = rmsnorm_forward;
    operations.rmsnorm_backward = rmsnorm_backward;
    operations.layernorm_forward = layernorm_forward;
    operations.layernorm_backward = layernorm_backward;
}

}  // namespace selvage::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw.h"

#include <cmath>

#include "kernels/cuda/elements.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/reduce.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int sum_threads = 256;

// Every operation is rounded as IEEE 754 says, so that the bits are those of the CPU's.
struct AdamW {
    float *values, *first_moment, *second_moment;
    float const* gradient;
    float gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, first_correction, second_correction, epsilon,
        weight_decay, minus_learning_rate;
    bool aligned() const { return aligned_for(16, values, first_moment) && aligned_for(16, second_moment, gradient); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> w = load<width>(values + i), m = load<width>(first_moment + i),
                      v = load<width>(second_moment + i);
        Vector<width> const scaled = load<width>(gradient + i);
        for (int j = 0; j < width; ++j) {
            float const g = scaled[j] * gradient_scale;
            m[j] = fmaf(beta1, m[j], one_minus_beta1 * g);
            v[j] = fmaf(beta2, v[j], one_minus_beta2 * (g * g));
            float const root = sqrtf(v[j] * second_correction) + epsilon;
            float const step = fmaf(weight_decay, w[j], m[j] * first_correction / root);
            w[j] = fmaf(minus_learning_rate, step, w[j]);
        }
        store(first_moment + i, m);
        store(second_moment + i, v);
        store(values + i, w);
    }
};

// sums[b] of block b: each thread the squares of four elements after the other, then the tree of threads. Vectors are a
// way to load only: a block's sum is the same wherever it lies.
__global__ void __launch_bounds__(sum_threads)
    block_sums_of_squares_kernel(double* sums, float const* values, std::int64_t n, std::int64_t block, bool vectors) {
    __shared__ double warp_sums[32];
    std::int64_t const first = blockIdx.x * block;
    std::int64_t const end = min(first + block, n);
    double sum = 0;
    auto const add = [&](float x) { sum += static_cast<double>(x) * static_cast<double>(x); };
#pragma unroll 4
    for (std::int64_t i = first + threadIdx.x * 4; i < end; i += sum_threads * 4) {
        if (vectors && i + 4 <= end) {
            Vector<4> const x = load<4>(values + i);
            for (int j = 0; j < 4; ++j) add(x[j]);
        } else {
            for (std::int64_t j = i; j < i + 4 && j < end; ++j) add(values[j]);
        }
    }
    sum = over_block(sum, 0.0, warp_sums, Sum{});
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

}  // namespace

void adamw_update(TensorView values, TensorView first_moment, TensorView second_moment, TensorView gradient,
                  AdamWStep const& step, Stream& stream) {
    std::int64_t const n = values.elements();
    SELVAGE_CHECK(
        n % 16 == 0 && first_moment.elements() == n && second_moment.elements() == n && gradient.elements() == n,
        "AdamW needs four vectors of the same multiple of 16, not {}, {}, {} and {}", n, first_moment.elements(),
        second_moment.elements(), gradient.elements());
    SELVAGE_CHECK(step.step >= 1, "AdamW steps count from 1, not {}", step.step);
    double const beta1 = step.beta1;
    double const beta2 = step.beta2;
    auto const count = static_cast<double>(step.step);
    over_elements(n,
                  AdamW{.values = values.as<float>(),
                        .first_moment = first_moment.as<float>(),
                        .second_moment = second_moment.as<float>(),
                        .gradient = gradient.as<float>(),
                        .gradient_scale = step.gradient_scale,
                        .beta1 = step.beta1,
                        .one_minus_beta1 = static_cast<float>(1.0 - beta1),
                        .beta2 = step.beta2,
                        .one_minus_beta2 = static_cast<float>(1.0 - beta2),
                        .first_correction = static_cast<float>(1.0 / (1.0 - std::pow(beta1, count))),
                        .second_correction = static_cast<float>(1.0 / (1.0 - std::pow(beta2, count))),
                        .epsilon = step.epsilon,
                        .weight_decay = step.weight_decay,
                        .minus_learning_rate = -step.learning_rate},
                  stream);
}

void block_sums_of_squares(double* out, TensorView values, std::int64_t block, Stream& stream) {
    SELVAGE_CHECK(block > 0, "block of {}", block);
    std::int64_t const n = values.elements();
    std::int64_t const blocks = (n + block - 1) / block;
    if (blocks == 0) return;
    float const* const x = values.as<float>();
    double* const sums = scratch<double>(static_cast<std::size_t>(blocks), stream);
    dim3 const grid(static_cast<unsigned>(blocks));
    bool const vectors = block % 4 == 0 && aligned_for(16, x);
    launch(block_sums_of_squares_kernel, grid, sum_threads, 0, stream, sums, x, n, block, vectors);
    download(std::span(out, static_cast<std::size_t>(blocks)), sums, stream);
}

void fill_adamw(Operations& operations) {
    operations.adamw_update = adamw_update;
    operations.block_sums_of_squares = block_sums_of_squares;
}

}  // namespace selvage::kernels::cuda

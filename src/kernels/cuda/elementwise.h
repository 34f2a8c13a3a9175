// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass over n elements, eight to a thread.
#include "device/cuda/launch.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int elementwise_threads = 256;
constexpr int elementwise_width = 8;

template <int width, class Body>
__global__ void __launch_bounds__(elementwise_threads) elementwise_kernel(Body body, std::int64_t n) {
    std::int64_t const thread = static_cast<std::int64_t>(blockIdx.x) * elementwise_threads + threadIdx.x;
    std::int64_t const first = thread * elementwise_width;
    if (width > 1 && first + width <= n) {
        body.template at<width>(first);
        return;
    }
    for (std::int64_t i = first; i < n && i < first + elementwise_width; ++i) body.template at<1>(i);
}

// Calls body.at<width>(i) for elements i to i + width - 1 of all; width is 8 only where the body says aligned().
template <class Body>
void over_elements(std::int64_t n, Body const& body, Stream& stream) {
    std::int64_t const vectors = (n + elementwise_width - 1) / elementwise_width;
    dim3 const blocks(static_cast<unsigned>((vectors + elementwise_threads - 1) / elementwise_threads));
    if (body.aligned())
        launch(elementwise_kernel<elementwise_width, Body>, blocks, elementwise_threads, 0, stream, body, n);
    else
        launch(elementwise_kernel<1, Body>, blocks, elementwise_threads, 0, stream, body, n);
}

}  // namespace
}  // namespace selvage::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
// The work list of attention's backward pass, and sums of d_out out for each row and head.
#include <vector>

#include "kernels/arguments.h"
#include "kernels/attention_arguments.h"
#include "kernels/cuda/attention_work.h"
#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/reduce.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int delta_warps = 8;

// A warp has a row of one head; a lane every 32nd pair of elements.
template <class E>
__global__ void __launch_bounds__(32 * delta_warps)
    delta_kernel(float* delta, E const* d_out, E const* out, std::int64_t count, int head_size) {
    std::int64_t const place = std::int64_t{blockIdx.x} * delta_warps + threadIdx.x / 32;
    if (place >= count) return;
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x % 32); i < head_size; i += 32)
        sum = fmaf(widen(d_out[place * head_size + i]), widen(out[place * head_size + i]), sum);
    sum = over_warp(sum, Sum{});
    if (threadIdx.x % 32 == 0) delta[place] = sum;
}

template <class E>
void backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
              TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
              std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream) {
    thread_local std::vector<BackwardBlock> blocks;
    blocks.clear();
    for (AttentionSegment const& segment : segments)
        for (std::int64_t first = 0; first < segment.rows; first += kv_page_tokens)
            blocks.push_back({static_cast<std::int32_t>(segment.first_row), static_cast<std::int32_t>(segment.rows),
                              static_cast<std::int32_t>(first / kv_page_tokens)});
    std::int64_t const size = queries.dim(2);
    if constexpr (sizeof(E) == 2) SELVAGE_CHECK(size % 8 == 0, "head size {} in bf16 on a GPU", size);
    std::int64_t const places = queries.dim(0) * queries.dim(1);
    float* const delta = scratch<float>(static_cast<std::size_t>(places), stream);
    launch(delta_kernel<E>, static_cast<unsigned>((places + delta_warps - 1) / delta_warps), 32 * delta_warps, 0,
           stream, delta, d_out.as<E>(), out.as<E>(), places, static_cast<int>(size));
    BackwardWork<E> const work{.d_queries = d_queries.as<E>(),
                               .d_keys = d_keys.as<E>(),
                               .d_values = d_values.as<E>(),
                               .d_out = d_out.as<E>(),
                               .log_sum_exp = log_sum_exp.as<float>(),
                               .delta = delta,
                               .queries = queries.as<E>(),
                               .keys = keys.as<E>(),
                               .values = values.as<E>(),
                               .blocks = upload(std::span<BackwardBlock const>(blocks), stream),
                               .heads = static_cast<int>(queries.dim(1)),
                               .kv_heads = static_cast<int>(keys.dim(1)),
                               .head_size = static_cast<int>(size),
                               .scores = score_options(options)};
    launch_backward(work, static_cast<unsigned>(blocks.size()), stream);
}

}  // namespace

void attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                        TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                        std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream) {
    if (segments.empty() || queries.empty()) return;
    check_backward(queries, keys, segments);
    if (library_attention_backward(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys, values,
                                   segments, options, stream))
        return;
    with_element(queries, [&]<class E>() {
        backward<E>(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys, values, segments, options,
                    stream);
    });
}

void fill_attention_backward(Operations& operations) { operations.attention_backward = attention_backward; }

}  // namespace selvage::kernels::cuda

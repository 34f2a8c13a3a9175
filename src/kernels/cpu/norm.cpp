// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.h"

#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"
#include "kernels/norm_arguments.h"

namespace selvage::kernels::cpu {
namespace {

constexpr std::int64_t rows_per_block = 16;  // of a backward pass: what both of its loops read stays in cache

// kernel(rows)
template <class Kernel>
void over_rows(TensorView in, TensorView weight, Kernel const& kernel) {
    parallel_for(rows_of(in, weight), 1, 4 * in.elements(), [&](std::int64_t begin, std::int64_t end) {
        kernel(Span{begin, end});
    });
}

// by_rows(rows) for each row and by_columns(rows, columns) for each row and column, in blocks of rows. A thread has its
// part of a block's rows, and its columns of all of them, so that sums over rows follow row order.
template <class ByRows, class ByColumns>
void over_blocks(TensorView in, TensorView weight, ByRows const& by_rows, ByColumns const& by_columns) {
    std::int64_t const rows = rows_of(in, weight);
    std::int64_t const hidden = weight.elements();
    if (rows == 0) return;
    parallel_for(hidden, 16, 8 * in.elements(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t first = 0; first < rows; first += rows_per_block) {
            std::int64_t const count = std::min(rows_per_block, rows - first);
            by_rows(Span{first + count * begin / hidden, first + count * end / hidden});
            by_columns(Span{first, first + count}, Span{begin, end});
        }
    });
}

}  // namespace

void rmsnorm_forward(TensorView out, TensorView rstd, TensorView sum, TensorView in, TensorView branch,
                     NormWeight const& weight, float epsilon, Stream&) {
    NormForwardTensors const tensors{out, {}, rstd, sum, in, branch, weight.value, {}, weight.offset};
    if (in.dtype() == DType::bf16) {
        auto const norm = forward_of<BFloat16, BFloat16>(tensors, epsilon);
        return over_rows(in, weight.value, [&](Span rows) { kernel_table().bf16.head_norm(norm, rows); });
    }
    with_element(out, [&]<class E>() {
        auto const norm = forward_of<E>(tensors, epsilon);
        over_rows(in, weight.value, [&](Span rows) { kernel_table().of<E>().rmsnorm(norm, rows); });
    });
}

void layernorm_forward(TensorView out, TensorView mean, TensorView rstd, TensorView sum, TensorView in,
                       TensorView branch, TensorView weight, TensorView bias, float epsilon, Stream&) {
    check_same(bias, weight);
    with_element(out, [&]<class E>() {
        auto const norm = forward_of<E>({out, mean, rstd, sum, in, branch, weight, bias}, epsilon);
        over_rows(in, weight, [&](Span rows) { kernel_table().of<E>().layernorm(norm, rows); });
    });
}

void rmsnorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                      TensorView d_out, TensorView in, TensorView rstd, NormWeight const& weight, Stream&) {
    NormBackwardTensors const tensors{d_in, d_in_compute, d_weight, {},           d_out,
                                      in,   {},           rstd,     weight.value, weight.offset};
    if (in.dtype() == DType::bf16) {
        auto const norm = backward_of<BFloat16, BFloat16>(tensors, accumulate);
        ElementKernels<BFloat16> const& kernels = kernel_table().bf16;
        return over_blocks(
            in, weight.value, [&](Span rows) { kernels.head_norm_backward(norm, rows); },
            [&](Span rows, Span columns) { kernels.head_norm_weight_gradient(norm, rows, columns); });
    }
    with_element(d_in_compute, [&]<class E>() {
        auto const norm = backward_of<E>(tensors, accumulate);
        ElementKernels<E> const& kernels = kernel_table().of<E>();
        over_blocks(
            in, weight.value, [&](Span rows) { kernels.rmsnorm_backward(norm, rows); },
            [&](Span rows, Span columns) { kernels.rmsnorm_weight_gradient(norm, rows, columns); });
    });
}

void layernorm_backward(TensorView d_in, TensorView d_in_compute, Accumulate accumulate, TensorView d_weight,
                        TensorView d_bias, TensorView d_out, TensorView in, TensorView mean, TensorView rstd,
                        TensorView weight, Stream&) {
    check_same(d_bias, weight);
    check_same(mean, rstd);
    with_element(d_in_compute, [&]<class E>() {
        auto const norm =
            backward_of<E>({d_in, d_in_compute, d_weight, d_bias, d_out, in, mean, rstd, weight}, accumulate);
        ElementKernels<E> const& kernels = kernel_table().of<E>();
        over_blocks(
            in, weight, [&](Span rows) { kernels.layernorm_backward(norm, rows); },
            [&](Span rows, Span columns) { kernels.layernorm_weight_gradient(norm, rows, columns); });
    });
}

void fill_norm(Operations& operations) {
    operations.rmsnorm_forward = rmsnorm_forward;
    operations.rmsnorm_backward = rmsnorm_backward;
    operations.layernorm_forward = layernorm_forward;
    operations.layernorm_backward = layernorm_backward;
}

}  // namespace selvage::kernels::cpu

// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include <algorithm>

#include "kernels/cuda/gemm_library.h"
#include "kernels/cuda/gemm_product.h"
#include "kernels/cuda/operations.h"
#include "kernels/gemm_arguments.h"

namespace selvage::kernels::cuda {
namespace {

constexpr std::int64_t rows_per_call = 1024;  // of a weight gradient in f32, as on the CPU

void multiply(MatrixProduct const& product, Stream& stream) {
    if (product.m == 0 || product.n == 0) return;
    SELVAGE_CHECK(product.a.dtype() == product.b.dtype(), "a product of {} and {}", name_of(product.a.dtype()),
                  name_of(product.b.dtype()));
    if (product.a.dtype() == DType::f32) return multiply_f32(product, stream);
    if (library_product(product, stream)) return;
    multiply_bf16(product, choose_tile(product.m, product.n), stream);
}

// d_weight only, of `rows` of the operands.
void add_rows(WeightGradient const& gradient, TensorView in, std::int64_t begin, std::int64_t end, bool add,
              Stream& stream) {
    std::int64_t const n = gradient.d_weight.dim(0);
    multiply({.c = gradient.d_weight,
              .a = gradient.d_out.reshape({in.dim(0), n}).rows(begin, end),
              .b = in.rows(begin, end),
              .m = n,
              .n = in.dim(1),
              .k = end - begin,
              .a_transposed = true,
              .add = add},
             stream);
}

// What products read: the weight itself in f32, else a copy in bf16, [n, k] as it is, for products of both directions.
class PackedCopy final : public PackedWeight::Form {
  public:
    PackedCopy(Arena& arena, TensorView weight, DType dtype, PackedWeight::Use use) : Form(weight, use) {
        if (dtype == DType::bf16) copy_ = Tensor(arena, "packed weights", dtype, {n, k});
        read_ = dtype == DType::bf16 ? copy_.view() : weight;
    }
    void update(TensorView weight, Stream& stream) override {
        if (read_.dtype() == DType::bf16)
            operations().convert(copy_, weight, stream);
        else
            read_ = weight;
    }
    bool reads_weight() const override { return read_.dtype() == DType::f32; }
    TensorView read() const { return read_; }

  private:
    Tensor copy_;
    TensorView read_;
};

std::unique_ptr<PackedWeight::Form> pack_weight(Arena& arena, TensorView weight, DType dtype, PackedWeight::Use use) {
    return std::make_unique<PackedCopy>(arena, weight, dtype, use);
}

TensorView read_of(PackedWeight::Form const& form) { return static_cast<PackedCopy const&>(form).read(); }

}  // namespace

void linear_forward(TensorView out, TensorView in, TensorView weight, TensorView bias, Stream& stream) {
    auto const [m, n, k] = sizes_of(in, out, weight.dim(0), weight.dim(1));
    multiply({.c = out, .a = in, .b = weight, .bias = bias, .m = m, .n = n, .k = k, .b_transposed = true}, stream);
}

void linear_forward(TensorView out, TensorView in, PackedWeight::Form const& weight, TensorView bias, Stream& stream) {
    cuda::linear_forward(out, in, read_of(weight), bias, stream);
}

void linear_backward_input(TensorView d_in, TensorView d_out, TensorView weight, Accumulate accumulate,
                           Stream& stream) {
    auto const [m, n, k] = sizes_of(d_in, d_out, weight.dim(0), weight.dim(1));
    bool const add = accumulate == Accumulate::add;
    multiply({.c = d_in, .a = d_out, .b = weight, .m = m, .n = k, .k = n, .add = add}, stream);
}

void linear_backward_input(TensorView d_in, TensorView d_out, PackedWeight::Form const& weight, Accumulate accumulate,
                           Stream& stream) {
    cuda::linear_backward_input(d_in, d_out, read_of(weight), accumulate, stream);
}

void linear_backward_weights(std::span<WeightGradient const> gradients, TensorView in, Accumulate accumulate,
                             Stream& stream) {
    for (WeightGradient const& gradient : gradients) {
        std::int64_t const k = gradient.d_weight.dim(1);
        std::int64_t const m = sizes_of(in, gradient.d_out, gradient.d_weight.dim(0), k).m;
        std::int64_t const most = in.dtype() == DType::f32 ? rows_per_call : m;
        std::int64_t row = 0;
        do {  // once where there are no rows: their sum is zero
            std::int64_t const end = std::min(m, row + most);
            add_rows(gradient, in.reshape({m, k}), row, end, row > 0 || accumulate == Accumulate::add, stream);
            row = end;
        } while (row < m);
        if (gradient.d_bias.empty()) continue;
        if (accumulate == Accumulate::overwrite) operations().fill(gradient.d_bias, 0, stream);
        operations().add_column_sums(gradient.d_bias, gradient.d_out, stream);
    }
}

void fill_gemm(Operations& operations) {
    operations.linear_forward = linear_forward;
    operations.linear_forward_packed = linear_forward;
    operations.linear_backward_input = linear_backward_input;
    operations.linear_backward_input_packed = linear_backward_input;
    operations.linear_backward_weights = linear_backward_weights;
    operations.pack_weight = pack_weight;
}

}  // namespace selvage::kernels::cuda

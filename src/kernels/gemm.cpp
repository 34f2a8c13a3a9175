// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include "kernels/operations.h"

namespace selvage::kernels {

void linear_forward(TensorView out, TensorView in, TensorView weight, TensorView bias, Stream& stream) {
    operations(stream).linear_forward(out, in, weight, bias, stream);
}

void linear_forward(TensorView out, TensorView in, PackedWeight const& weight, TensorView bias, Stream& stream) {
    operations(stream).linear_forward_packed(out, in, weight.form(), bias, stream);
}

void linear_backward_input(TensorView d_in, TensorView d_out, TensorView weight, Accumulate accumulate,
                           Stream& stream) {
    operations(stream).linear_backward_input(d_in, d_out, weight, accumulate, stream);
}

void linear_backward_input(TensorView d_in, TensorView d_out, PackedWeight const& weight, Accumulate accumulate,
                           Stream& stream) {
    SELVAGE_CHECK(weight.use() == PackedWeight::Use::training, "weights packed for forward products only");
    operations(stream).linear_backward_input_packed(d_in, d_out, weight.form(), accumulate, stream);
}

void linear_backward_weights(std::span<WeightGradient const> gradients, TensorView in, Accumulate accumulate,
                             Stream& stream) {
    operations(stream).linear_backward_weights(gradients, in, accumulate, stream);
}

void linear_backward_weight(TensorView d_weight, TensorView d_bias, TensorView d_out, TensorView in,
                            Accumulate accumulate, Stream& stream) {
    WeightGradient const gradient{d_weight, d_bias, d_out};
    linear_backward_weights({&gradient, 1}, in, accumulate, stream);
}

PackedWeight::PackedWeight(Arena& arena, TensorView weight, DType dtype, Use use) {
    SELVAGE_CHECK(use == Use::forward || dtype == DType::bf16, "training reads weights in {} plain", name_of(dtype));
    Stream stream = arena.stream();
    form_ = operations(stream).pack_weight(arena, weight, dtype, use);
    update(weight, stream);
}
PackedWeight::~PackedWeight() = default;
PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight& PackedWeight::operator=(PackedWeight&&) noexcept = default;

void PackedWeight::update(TensorView weight, Stream& stream) {
    SELVAGE_CHECK(weight.dim(0) == form_->n && weight.dim(1) == form_->k, "weight {} for packed [{}, {}]",
                  weight.shape().text(), form_->n, form_->k);
    form_->update(weight, stream);
}

}  // namespace selvage::kernels

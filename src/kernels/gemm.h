// SPDX-License-Identifier: Apache-2.0
#pragma once
// Matrix products in one defined order of accumulation, so that the bits of a row depend on that row alone: per output
// ascending k in one fp32 FMA chain, in K blocks of gemm_k_block(k), block sums added in order (see kernels/README.md).
// Two implementations keep it: the library's (where the self-check at start finds that it does) and our own loops.
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "device/device.h"
#include "kernels/accumulate.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

constexpr std::int64_t gemm_k_block(std::int64_t k) { return k <= 1024 ? 512 : 1024; }

// Operands are all f32, with plain or packed weights; or bf16 with packed weights, whose results are f32 or bf16 as
// `out` says. Sums, biases and gradients of weights are f32.

// out[m, n] = in[m, k] weight[n, k]^T (+ bias[n]).  `bias` may be empty.
void linear_forward(TensorView out, TensorView in, TensorView weight, TensorView bias, Stream& stream);

// d_in[m, k] (+)= d_out[m, n] weight[n, k]
void linear_backward_input(TensorView d_in, TensorView d_out, TensorView weight, Accumulate accumulate, Stream& stream);

// d_weight[n, k] (+)= d_out[m, n]^T in[m, k]; rows are summed in order, in calls of at most 1024 rows whose sums are
// added one after the other (in bf16 on a GPU in one). d_bias[n] (+)= column sums of d_out in row order; may be empty.
void linear_backward_weight(TensorView d_weight, TensorView d_bias, TensorView d_out, TensorView in,
                            Accumulate accumulate, Stream& stream);

// Several of them of one `in`, which is read and, in bf16, packed once.
struct WeightGradient {
    TensorView d_weight, d_bias, d_out;
};
void linear_backward_weights(std::span<WeightGradient const> gradients, TensorView in, Accumulate accumulate,
                             Stream& stream);

// A weight [n, k] in the form that products read fastest. In f32 it gives the same bits as the plain one.
class PackedWeight {
  public:
    // training: for linear_backward_input too.
    enum class Use : std::uint8_t { forward, training };
    // `dtype` is f32 (for forward only) or bf16 (rounded to nearest, ties to even).
    PackedWeight(Arena& arena, TensorView weight, DType dtype = DType::f32, Use use = Use::forward);
    ~PackedWeight();
    PackedWeight(PackedWeight&&) noexcept;
    PackedWeight& operator=(PackedWeight&&) noexcept;
    // Copies the weight again, after it has changed.
    void update(TensorView weight, Stream& stream);
    Use use() const { return form_->use; }
    // Whether products read the weight itself, which must stay then.
    bool reads_weight() const { return form_->reads_weight(); }
    // A backend's own layout of the weight.
    struct Form {
        Form(TensorView weight, Use wanted) : n(weight.dim(0)), k(weight.dim(1)), use(wanted) {}
        virtual ~Form() = default;
        virtual void update(TensorView weight, Stream& stream) = 0;
        virtual bool reads_weight() const { return false; }
        std::int64_t n, k;
        Use use;
    };
    Form const& form() const { return *form_; }

  private:
    std::unique_ptr<Form> form_;
};
void linear_forward(TensorView out, TensorView in, PackedWeight const& weight, TensorView bias, Stream& stream);
void linear_backward_input(TensorView d_in, TensorView d_out, PackedWeight const& weight, Accumulate accumulate,
                           Stream& stream);

// What the self-check at start found. Called once by main; runs some small products (a few milliseconds).
enum class GemmWay : std::uint8_t { library, ordered };
struct GemmReport {
    GemmWay way = GemmWay::ordered;
    std::string instruction_set;  // of our own kernels: "avx512", "avx2", "portable"
    std::string library;          // name, version and implementation of the library
    std::string reason;           // why not the library, where it was not taken
};
GemmReport const& choose_gemm();

}  // namespace selvage::kernels

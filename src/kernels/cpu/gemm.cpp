// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include <algorithm>
#include <vector>

#include "kernels/activation.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/gemm_ways.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/workspace.h"
#include "kernels/gemm_arguments.h"
#include "tensor/layout.h"

namespace selvage::kernels::cpu {
namespace {

constexpr std::int64_t rows_per_call = 1024;   // of a weight gradient; part of the defined order
constexpr std::int64_t fewest_in_library = 8;  // rows; fewer are faster, or as fast, by our own loops

void add_bias(MatrixProduct const& x) {
    parallel_for(x.m, 1, x.m * x.n, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) kernel_table().add(x.c + row * x.n, x.bias, x.n);
    });
}

void multiply(MatrixProduct const& product) {
    if (product.m == 0 || product.n == 0) return;
    if (product.m < fewest_in_library || choose_gemm().way == GemmWay::ordered || !library_product(product))
        return ordered_product(product);
    if (product.bias != nullptr) add_bias(product);
}

float const* optional(TensorView view) { return view.empty() ? nullptr : view.as<float>(); }

// `rows` rows of several gradients; d.d_bias is left alone. Their common operand is packed once.
void add_rows(std::span<WeightGradient const> gradients, TensorView in, Range rows, bool add) {
    static std::vector<float> scratch;  // used by the main thread only, as all kernels
    TensorView const x = in.rows(rows.begin, rows.end);
    std::int64_t const n = x.dim(1);
    std::int64_t const k = rows.size();
    bool const bf16 = in.dtype() == DType::bf16;
    float* const panels =
        aligned_floats(scratch, bf16 ? bf16_panel_elements(n, k) / 2 : panel_count(n) * panel_elements(k));
    auto* const bf16_panels = reinterpret_cast<BFloat16*>(panels);
    if (bf16)
        bf16_pack_operand(bf16_panels, x);
    else
        pack_panels(panels, x.as<float>(), false, n, k);
    for (WeightGradient const& gradient : gradients) {
        std::int64_t const m = gradient.d_weight.dim(0);
        TensorView const d = gradient.d_out.reshape({in.dim(0), m}).rows(rows.begin, rows.end);
        if (bf16)
            bf16_product({.c = gradient.d_weight,
                          .a = d.as<BFloat16>(),
                          .panels = bf16_panels,
                          .m = m,
                          .n = n,
                          .k = k,
                          .a_transposed = true,
                          .add = add,
                          .write_through = true});
        else
            multiply({.c = gradient.d_weight.as<float>(),
                      .a = d.as<float>(),
                      .panels = panels,
                      .m = m,
                      .n = n,
                      .k = k,
                      .a_transposed = true,
                      .add = add});
    }
}

}  // namespace

void linear_forward(TensorView out, TensorView in, TensorView weight, TensorView bias, Stream&) {
    auto const [m, n, k] = sizes_of(in, out, weight.dim(0), weight.dim(1));
    multiply({.c = out.as<float>(),
              .a = in.as<float>(),
              .b = weight.as<float>(),
              .bias = optional(bias),
              .m = m,
              .n = n,
              .k = k,
              .b_transposed = true});
}

void linear_backward_input(TensorView d_in, TensorView d_out, TensorView weight, Accumulate accumulate, Stream&) {
    auto const [m, n, k] = sizes_of(d_in, d_out, weight.dim(0), weight.dim(1));
    multiply({.c = d_in.as<float>(),
              .a = d_out.as<float>(),
              .b = weight.as<float>(),
              .m = m,
              .n = k,
              .k = n,
              .add = accumulate == Accumulate::add});
}

void linear_backward_weights(std::span<WeightGradient const> gradients, TensorView in, Accumulate accumulate,
                             Stream& stream) {
    if (gradients.empty()) return;
    std::int64_t const k = gradients[0].d_weight.dim(1);
    std::int64_t const m = in.elements() / k;
    for (WeightGradient const& gradient : gradients)
        sizes_of(in, gradient.d_out, gradient.d_weight.dim(0), gradient.d_weight.dim(1));
    TensorView const x = in.reshape({m, k});
    for (std::int64_t row = 0; row < m; row += rows_per_call)
        add_rows(gradients, x, {row, std::min(m, row + rows_per_call)}, row > 0 || accumulate == Accumulate::add);
    for (WeightGradient const& gradient : gradients) {
        if (gradient.d_bias.empty()) continue;
        if (accumulate == Accumulate::overwrite) fill(gradient.d_bias, 0, stream);
        add_column_sums(gradient.d_bias, gradient.d_out, stream);
    }
}

// Panels of 64 columns (16 without AVX-512), or what bf16 products read.
class PackedPanels final : public PackedWeight::Form {
  public:
    PackedPanels(Arena& arena, TensorView weight, DType dtype, PackedWeight::Use use) : Form(weight, use) {
        auto const tensor = [&](std::int64_t elements) { return Tensor(arena, "packed weights", dtype, {elements}); };
        panels_ = tensor(dtype == DType::f32 ? panel_count(n) * panel_elements(k) : bf16_panel_elements(n, k));
        if (use == PackedWeight::Use::training) transposed_panels_ = tensor(bf16_panel_elements(k, n));
    }
    void update(TensorView weight, Stream&) override {
        TensorView const transposed = transposed_panels_;
        if (panels_.view().dtype() == DType::f32)
            pack_panels(panels_.view().as<float>(), weight.as<float>(), true, n, k);
        else
            bf16_pack_weight(panels_.view().as<BFloat16>(), transposed.empty() ? nullptr : transposed.as<BFloat16>(),
                             weight);
    }
    TensorView panels() const { return panels_; }
    TensorView transposed_panels() const { return transposed_panels_; }

  private:
    Tensor panels_;
    Tensor transposed_panels_;  // of the transposed weight; training only
};

std::unique_ptr<PackedWeight::Form> pack_weight(Arena& arena, TensorView weight, DType dtype, PackedWeight::Use use) {
    return std::make_unique<PackedPanels>(arena, weight, dtype, use);
}

PackedPanels const& panels_of(PackedWeight::Form const& form) { return static_cast<PackedPanels const&>(form); }

void linear_forward(TensorView out, TensorView in, PackedWeight::Form const& weight, TensorView bias, Stream&) {
    PackedPanels const& form = panels_of(weight);
    auto const [m, n, k] = sizes_of(in, out, form.n, form.k);
    if (in.dtype() == DType::bf16)
        return bf16_product({.c = out,
                             .a = in.as<BFloat16>(),
                             .panels = form.panels().as<BFloat16>(),
                             .bias = optional(bias),
                             .m = m,
                             .n = n,
                             .k = k});
    multiply({.c = out.as<float>(),
              .a = in.as<float>(),
              .panels = form.panels().as<float>(),
              .bias = optional(bias),
              .m = m,
              .n = n,
              .k = k});
}

void linear_backward_input(TensorView d_in, TensorView d_out, PackedWeight::Form const& weight, Accumulate accumulate,
                           Stream&) {
    PackedPanels const& form = panels_of(weight);
    auto const [m, n, k] = sizes_of(d_in, d_out, form.n, form.k);
    bf16_product({.c = d_in,
                  .a = d_out.as<BFloat16>(),
                  .panels = form.transposed_panels().as<BFloat16>(),
                  .m = m,
                  .n = k,
                  .k = n,
                  .add = accumulate == Accumulate::add});
}

void fill_gemm(Operations& operations) {
    operations.linear_forward = linear_forward;
    operations.linear_forward_packed = linear_forward;
    operations.linear_backward_input = linear_backward_input;
    operations.linear_backward_input_packed = linear_backward_input;
    operations.linear_backward_weights = linear_backward_weights;
    operations.pack_weight = pack_weight;
}

}  // namespace selvage::kernels::cpu

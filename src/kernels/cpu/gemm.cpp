// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include <algorithm>

#include "kernels/cpu/gemm_ways.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels {
namespace {

constexpr std::int64_t rows_per_call = 1024;  // of a weight gradient; part of the defined order

// Few rows are faster, or as fast, by our own loops; and so are wide plain matrices, where the library (2.6.3) falls to
// a half or a third of our speed.
bool library_is_faster(MatrixProduct const& x) {
    bool const plain = x.panels == nullptr && !x.b_transposed;
    return x.m >= 8 && !(plain && x.n > 2048);
}

void add_bias(MatrixProduct const& x) {
    parallel_for(x.m, 1, x.m * x.n, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) kernel_table().add(x.c + row * x.n, x.bias, x.n);
    });
}

void multiply(MatrixProduct const& product) {
    if (product.m == 0 || product.n == 0) return;
    if (!library_is_faster(product) || choose_gemm().way == GemmWay::ordered || !library_product(product))
        return ordered_product(product);
    if (product.bias != nullptr) add_bias(product);
}

struct Sizes {
    std::int64_t m;
    std::int64_t n;
    std::int64_t k;
};
// Of in[m, k], out[m, n] and weight[n, k].
Sizes sizes_of(TensorView in, TensorView out, std::int64_t n, std::int64_t k) {
    std::int64_t const m = k == 0 ? 0 : in.elements() / k;
    SELVAGE_CHECK(n > 0 && k > 0 && in.elements() == m * k && out.elements() == m * n,
                  "{} and {} do not fit a weight of [{}, {}]", in.shape().text(), out.shape().text(), n, k);
    return {m, n, k};
}

float const* optional(TensorView view) { return view.empty() ? nullptr : view.as<float>(); }

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

void linear_backward_weight(TensorView d_weight, TensorView d_bias, TensorView d_out, TensorView in, Stream&) {
    auto const [m, n, k] = sizes_of(in, d_out, d_weight.dim(0), d_weight.dim(1));
    float const* const d = d_out.as<float>();
    float const* const x = in.as<float>();
    for (std::int64_t row = 0; row < m; row += rows_per_call)
        multiply({.c = d_weight.as<float>(),
                  .a = d + row * n,
                  .b = x + row * k,
                  .m = n,
                  .n = k,
                  .k = std::min(rows_per_call, m - row),
                  .a_transposed = true,
                  .add = true});
    if (d_bias.empty()) return;
    float* const sums = d_bias.as<float>();
    parallel_for(n, 16, m * n, [&, rows = m, columns = n](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = 0; row < rows; ++row)
            kernel_table().add(sums + begin, d + row * columns + begin, end - begin);
    });
}

struct PackedWeight::Form {
    std::int64_t n = 0;
    std::int64_t k = 0;
    Tensor panels;
};

PackedWeight::PackedWeight(Arena& arena, TensorView weight) : form_(std::make_unique<Form>()) {
    form_->n = weight.dim(0);
    form_->k = weight.dim(1);
    form_->panels = Tensor(arena, "packed weights", DType::f32, {panel_count(form_->n), panel_elements(form_->k)});
    Stream stream(arena.device().kind());
    update(weight, stream);
}
PackedWeight::~PackedWeight() = default;
PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight& PackedWeight::operator=(PackedWeight&&) noexcept = default;

void PackedWeight::update(TensorView weight, Stream&) {
    SELVAGE_CHECK(weight.dim(0) == form_->n && weight.dim(1) == form_->k, "weight {} for packed [{}, {}]",
                  weight.shape().text(), form_->n, form_->k);
    pack_panels(form_->panels.view().as<float>(), weight.as<float>(), true, form_->n, form_->k);
}

void linear_forward(TensorView out, TensorView in, PackedWeight const& weight, TensorView bias, Stream&) {
    PackedWeight::Form const& form = weight.form();
    auto const [m, n, k] = sizes_of(in, out, form.n, form.k);
    multiply({.c = out.as<float>(),
              .a = in.as<float>(),
              .panels = form.panels.view().as<float>(),
              .bias = optional(bias),
              .m = m,
              .n = n,
              .k = k});
}

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"
#include "operations/operation.h"

namespace selvage::bench {
namespace {

struct Layer {
    char const* name;
    std::int64_t n;
    std::int64_t k;
};
constexpr Layer layers[] = {
    {"query", hidden, hidden}, {"up", ffn, hidden}, {"down", hidden, ffn}, {"head", vocabulary, hidden}};

struct Size {
    std::int64_t m, n, k;
    DType dtype;
    Cost cost() const {
        // Few rows are about reading the weights.
        double const weights = static_cast<double>(n * k) * static_cast<double>(size_of(dtype));
        return {.operations = 2.0 * static_cast<double>(m) * static_cast<double>(n * k), .bytes = m < 64 ? weights : 0};
    }
};

std::shared_ptr<kernels::PackedWeight> packed(Size size, kernels::PackedWeight::Use use) {
    Tensor const weight = random_tensor({size.n, size.k});
    return std::make_shared<kernels::PackedWeight>(arena(), weight, size.dtype, use);
}

Call forward(Size size) {
    auto const weight = packed(size, kernels::PackedWeight::Use::forward);
    auto const in = std::make_shared<Tensor>(random_tensor({size.m, size.k}, size.dtype));
    auto const out = std::make_shared<Tensor>(arena(), "benchmark", size.dtype, Shape{size.m, size.n});
    return [=] { kernels::linear_forward(*out, *in, *weight, {}, stream()); };
}

Call plain_forward(Size size) {
    auto const weight = std::make_shared<Tensor>(random_tensor({size.n, size.k}));
    auto const in = std::make_shared<Tensor>(random_tensor({size.m, size.k}));
    auto const out = std::make_shared<Tensor>(arena(), "benchmark", size.dtype, Shape{size.m, size.n});
    return [=] { kernels::linear_forward(*out, *in, *weight, {}, stream()); };
}

Call input_gradient(Size size) {
    auto const d_out = std::make_shared<Tensor>(random_tensor({size.m, size.n}, size.dtype));
    auto const d_in = std::make_shared<Tensor>(arena(), "benchmark", size.dtype, Shape{size.m, size.k});
    auto const overwrite = kernels::Accumulate::overwrite;
    if (size.dtype == DType::f32) {
        auto const weight = std::make_shared<Tensor>(random_tensor({size.n, size.k}));
        return [=] { kernels::linear_backward_input(*d_in, *d_out, *weight, overwrite, stream()); };
    }
    auto const weight = packed(size, kernels::PackedWeight::Use::training);
    return [=] { kernels::linear_backward_input(*d_in, *d_out, *weight, overwrite, stream()); };
}

Call weight_gradient(Size size) {
    auto const d_out = std::make_shared<Tensor>(random_tensor({size.m, size.n}, size.dtype));
    auto const in = std::make_shared<Tensor>(random_tensor({size.m, size.k}, size.dtype));
    auto const d_weight = std::make_shared<Tensor>(arena(), "benchmark", DType::f32, Shape{size.n, size.k});
    return [=] { kernels::linear_backward_weight(*d_weight, {}, *d_out, *in, kernels::Accumulate::add, stream()); };
}

}  // namespace

void add_products() {
    for (DType const dtype : {DType::f32, DType::bf16})
        for (Layer const& layer : layers) {
            auto const name = [&](char const* pass, std::int64_t m) {
                return fmt::format("product/{}/{}/{}/{}", pass, name_of(dtype), layer.name, m);
            };
            for (std::int64_t const m : {1, 4, 8, 16, 32, 64, 256, 1024}) {
                Size const size{m, layer.n, layer.k, dtype};
                add_case(name("forward", m), size.cost(), [size] { return forward(size); });
            }
            Size const training{layer.n == vocabulary ? 512 : 1024, layer.n, layer.k, dtype};
            if (dtype == DType::f32)  // as in training
                add_case(name("plain_forward", training.m), training.cost(), [=] { return plain_forward(training); });
            add_case(name("input_gradient", training.m), training.cost(), [=] { return input_gradient(training); });
            add_case(name("weight_gradient", training.m), training.cost(), [=] { return weight_gradient(training); });
        }
}

}  // namespace selvage::bench

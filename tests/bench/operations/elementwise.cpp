// SPDX-License-Identifier: Apache-2.0
// Operations that pass over memory: norms, gates, rotary embedding, the optimizer.
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "operations/operation.h"

namespace selvage::bench {
namespace {

constexpr std::int64_t rows = 1024;
constexpr float epsilon = 1e-5F;

Cost moves(std::int64_t elements, double f32, double other, DType dtype) {
    return {.bytes = static_cast<double>(elements) * (4.0 * f32 + static_cast<double>(size_of(dtype)) * other)};
}

std::shared_ptr<Tensor> values(Shape shape, DType dtype = DType::f32) {
    return std::make_shared<Tensor>(random_tensor(shape, dtype));
}

Call norm_forward(DType dtype) {
    auto const in = values({rows, hidden}), branch = values({rows, hidden}), weight = values({hidden});
    auto const out = values({rows, hidden}, dtype), sum = values({rows, hidden}), rstd = values({rows});
    return [=] { kernels::rmsnorm_forward(*out, *rstd, *sum, *in, *branch, weight->view(), epsilon, stream()); };
}

Call norm_backward(DType dtype) {
    auto const in = values({rows, hidden}), weight = values({hidden}), d_out = values({rows, hidden});
    auto const d_in = values({rows, hidden}), d_compute = values({rows, hidden}, dtype), rstd = values({rows});
    auto const d_weight = values({hidden});
    kernels::fill(*rstd, 1, stream());
    return [=] {
        kernels::rmsnorm_backward(*d_in, *d_compute, kernels::Accumulate::overwrite, *d_weight, *d_out, *in, *rstd,
                                  weight->view(), stream());
    };
}

Call gate_forward(DType dtype) {
    auto const out = values({rows, ffn}, dtype), gate = values({rows, ffn}, dtype), up = values({rows, ffn}, dtype);
    return [=] { kernels::gated_forward(*out, *gate, *up, kernels::Gate::silu, stream()); };
}

Call gate_backward(DType dtype) {
    auto const d_out = values({rows, ffn}, dtype), gate = values({rows, ffn}, dtype), up = values({rows, ffn}, dtype);
    auto const d_gate = values({rows, ffn}, dtype), d_up = values({rows, ffn}, dtype);
    return [=] { kernels::gated_backward(*d_gate, *d_up, *d_out, *gate, *up, kernels::Gate::silu, stream()); };
}

Call rotary(DType dtype) {
    auto const x = values({rows, heads, head_size}, dtype);
    auto const positions = std::make_shared<Tensor>(random_tensor({rows}, DType::i32, 1024));
    return [=] { kernels::rotary_forward(*x, *positions, {.rotated = head_size}, stream()); };
}

constexpr std::int64_t parameters = std::int64_t{16} << 20;

Call adamw() {
    auto const value = values({parameters}), first = values({parameters}), gradient = values({parameters});
    auto const second = std::make_shared<Tensor>(arena(), "benchmark", DType::f32, Shape{parameters});
    return [=] {
        kernels::adamw_update(*value, *first, *second, *gradient, {.learning_rate = 1e-4F, .weight_decay = 0.1F},
                              stream());
    };
}

}  // namespace

void add_elementwise() {
    for (DType const dtype : {DType::f32, DType::bf16}) {
        auto const name = [&](char const* operation) { return fmt::format("{}/{}", operation, name_of(dtype)); };
        add_case(name("rmsnorm_forward_with_residual"), moves(rows * hidden, 3, 1, dtype),
                 [=] { return norm_forward(dtype); });
        add_case(name("rmsnorm_backward"), moves(rows * hidden, 3, 1, dtype), [=] { return norm_backward(dtype); });
        add_case(name("swiglu_forward"), moves(rows * ffn, 0, 3, dtype), [=] { return gate_forward(dtype); });
        add_case(name("swiglu_backward"), moves(rows * ffn, 0, 5, dtype), [=] { return gate_backward(dtype); });
        add_case(name("rotary"), moves(rows * hidden, 0, 2, dtype), [=] { return rotary(dtype); });
    }
    add_case("adamw", moves(parameters, 7, 0, DType::f32), adamw);
}

}  // namespace selvage::bench

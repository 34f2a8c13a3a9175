// SPDX-License-Identifier: Apache-2.0
// From logits to probabilities, losses and tokens.
#include "generate/sampler.h"
#include "kernels/cross_entropy.h"
#include "kernels/softmax.h"
#include "operations/operation.h"

namespace selvage::bench {
namespace {

constexpr std::int64_t rows = 32;

Cost moves(double bytes_of_element) { return {.bytes = static_cast<double>(rows * vocabulary) * bytes_of_element}; }

std::shared_ptr<Tensor> logits() { return std::make_shared<Tensor>(random_tensor({rows, vocabulary})); }

Call log_sum_exp() {
    auto const in = logits();
    auto const out = std::make_shared<Tensor>(random_tensor({rows}));
    return [=] { kernels::log_sum_exp(*out, *in, stream()); };
}

Call gradient(DType dtype) {
    auto const in = logits();
    auto const out = std::make_shared<Tensor>(random_tensor({rows, vocabulary}, dtype));
    auto const sums = std::make_shared<Tensor>(random_tensor({rows}));
    auto const weight = std::make_shared<Tensor>(random_tensor({rows}));
    auto const targets = std::make_shared<Tensor>(random_tensor({rows}, DType::i32, vocabulary));
    kernels::log_sum_exp(*sums, *in, stream());
    return [=] { kernels::cross_entropy_backward(*out, *in, *sums, *targets, *weight, stream()); };
}

Call fixed_point(std::shared_ptr<Tensor> const& out) {
    auto const in = logits();
    return [=] { kernels::fixed_point_weights(*out, *in, vocabulary, 1, stream()); };
}

std::shared_ptr<Tensor> weights() {
    return std::make_shared<Tensor>(arena(), "benchmark", DType::i64, Shape{rows, vocabulary});
}

Call sample(SamplerOptions const& options) {
    auto const all = weights();
    fixed_point(all)();
    return [=] {
        for (std::int64_t row = 0; row < rows; ++row) {
            std::int64_t const* const begin = all->view().as<std::int64_t>() + row * vocabulary;
            std::uint64_t const bits = 0x9E3779B97F4A7C15U * static_cast<std::uint64_t>(row + 1);
            SampledToken token = sample_token({begin, static_cast<std::size_t>(vocabulary)}, options, bits);
            benchmark::DoNotOptimize(token);
        }
    };
}

}  // namespace

void add_vocabulary() {
    std::string const size = fmt::format("/{}", rows);
    add_case("log_sum_exp" + size, moves(4), log_sum_exp);
    add_case("cross_entropy_backward/f32" + size, moves(8), [] { return gradient(DType::f32); });
    add_case("cross_entropy_backward/bf16" + size, moves(6), [] { return gradient(DType::bf16); });
    add_case("fixed_point_weights" + size, moves(12), [] { return fixed_point(weights()); });
    add_case("sample/all" + size, moves(8), [] { return sample({}); });
    add_case("sample/top_k_50" + size, moves(8), [] { return sample({1, 1, 50}); });
    add_case("sample/top_p_0.9" + size, moves(8), [] { return sample({1, 0.9, 0}); });
}

}  // namespace selvage::bench

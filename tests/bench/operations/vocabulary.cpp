// SPDX-License-Identifier: Apache-2.0
// From logits to probabilities, losses and tokens.
#include <vector>

#include "kernels/cross_entropy.h"
#include "kernels/sampling.h"
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

Call argmax() {
    auto const in = logits();
    auto const out = std::make_shared<Tensor>(random_tensor({rows}, DType::i32, 1));
    return [=] { kernels::argmax(*out, *in, vocabulary, stream()); };
}

// With the log-sum-exp, as generation draws.
Call sample(kernels::Sampling const& options) {
    auto const in = logits();
    auto const tokens = std::make_shared<Tensor>(random_tensor({rows}, DType::i32, 1));
    auto const values = std::make_shared<Tensor>(random_tensor({rows}));
    auto const sums = std::make_shared<Tensor>(random_tensor({rows}));
    std::vector<kernels::Sampling> draws(rows, options);
    for (std::size_t row = 0; row < draws.size(); ++row) draws[row].bits = 0x9E3779B97F4A7C15U * (row + 1);
    return [=] { kernels::sample(*tokens, *values, *sums, *in, vocabulary, draws, stream()); };
}

}  // namespace

void add_vocabulary() {
    std::string const size = fmt::format("/{}", rows);
    add_case("log_sum_exp" + size, moves(4), log_sum_exp);
    add_case("cross_entropy_backward/f32" + size, moves(8), [] { return gradient(DType::f32); });
    add_case("cross_entropy_backward/bf16" + size, moves(6), [] { return gradient(DType::bf16); });
    add_case("argmax" + size, moves(4), argmax);
    add_case("sample/all" + size, moves(4), [] { return sample({}); });
    add_case("sample/top_k_50" + size, moves(4), [] { return sample({1, 1, 50}); });
    add_case("sample/top_p_0.9" + size, moves(4), [] { return sample({1, 0.9, 0}); });
}

}  // namespace selvage::bench

// SPDX-License-Identifier: Apache-2.0
// Operations without products, and sampling.
#include "kernels/backends.h"
#include "kernels/operations.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::epsilon_of;
using test::Floats;
using test::Ids;

class Backends : public test::Backends {};

// Arithmetic of a dozen roundings, one of them in the argument of exp, and what is stored, by two ways.
template <class E>
constexpr double elementwise = 100 * epsilon_f32 + (sizeof(E) == 2 ? 2 * epsilon_of<E> : 0);
constexpr double row_sums = 100 * epsilon_f32;  // over some hundred elements by lanes

constexpr std::int64_t rows = 33, hidden = 776;
Shape const matrix{rows, hidden};

TEST_P(Backends, Activations) {
    auto const check = [&]<class E>() {
        for (Gate const gate : {Gate::silu, Gate::gelu, Gate::gelu_erf}) {
            Gelu const form = gate == Gate::gelu_erf ? Gelu::erf : Gelu::tanh;
            auto const in = random<E>(matrix, 1, 6), up = random<E>(matrix, 2), d_out = random<E>(matrix, 3);
            auto const out = random<E>(matrix, 4), d_in = random<E>(matrix, 4), d_up = random<E>(matrix, 4);
            run([&](auto side, Stream& stream) {
                gated_forward(side(out), side(in), side(up), gate, stream);
                gated_backward(side(d_in), side(d_up), side(d_out), side(in), side(up), gate, stream);
            });
            out.expect_near(1e-7, elementwise<E>);
            d_in.expect_near(1e-6, elementwise<E>);
            d_up.expect_near(1e-7, elementwise<E>);
            run([&](auto side, Stream& stream) {
                gelu_forward(side(out), side(in), form, stream);
                gelu_backward(side(d_in), side(d_out), side(in), form, stream);
            });
            out.expect_near(1e-7, elementwise<E>);
            d_in.expect_near(1e-6, elementwise<E>);
        }
        auto const capped = random(matrix, 1, 40);
        auto const d_capped = random<E>(matrix, 2);
        run([&](auto side, Stream& stream) {
            softcap_forward(side(capped), 30, stream);
            softcap_backward(side(d_capped), side(capped), 30, stream);
        });
        capped.expect_near(0, elementwise<float>);
        d_capped.expect_near(20 * epsilon_f32, elementwise<E>);
        auto const in = random<E>(matrix, 1);
        auto const sums = random({hidden}, 5);
        run([&](auto side, Stream& stream) { add_column_sums(side(sums), side(in), stream); });
        sums.expect_near(2 * 33 * 33 * epsilon_f32, 0);
    };
    check.template operator()<float>();
    check.template operator()<BFloat16>();
}

TEST_P(Backends, ElementwiseToTheBit) {
    auto const to = random(matrix, 1), from = random(matrix, 2), filled = random(matrix, 3), wide = random(matrix, 3);
    auto const narrow = random<BFloat16>(matrix, 4);
    auto const values = random({4096}, 5), first = random({4096}, 6), second = twice(Floats(4096, 0.3F), {4096}),
               gradient = random({4096}, 7);
    run([&](auto side, Stream& stream) {
        add_in_place(side(to), side(from), stream);
        fill(side(filled), 2.5F, stream);
        scale_in_place(side(filled), 0.3F, stream);
        convert(side(narrow), side(from), stream);
        convert(side(wide), side(narrow), stream);
        adamw_update(side(values), side(first), side(second), side(gradient),
                     {.learning_rate = 1e-3F, .weight_decay = 0.1F, .gradient_scale = 0.7F, .step = 3}, stream);
    });
    for (auto const* const tensor : {&to, &filled, &wide, &values, &first, &second}) tensor->expect_same();
    narrow.expect_same();
    std::vector<std::vector<double>> sums;
    run([&](auto side, Stream& stream) {
        block_sums_of_squares(sums.emplace_back(26).data(), side(to), 1024, stream);
    });
    for (std::size_t i = 0; i < sums[0].size(); ++i) EXPECT_NEAR(sums[1][i], sums[0][i], 1024 * 1e-16 * sums[0][i]);
}

TEST_P(Backends, Rows) {
    Ids ids;
    for (int i = 0; i < rows; ++i) ids.push_back(i * i % 11);
    auto const tokens = twice(ids, {rows}), some = twice(Ids{5, 0, 32}, {3});
    auto const table = random({11, hidden}, 1), d_table = random({11, hidden}, 2), out = random(matrix, 3),
               d_out = random(matrix, 4), scattered = random(matrix, 6);
    auto const in = random<BFloat16>(matrix, 5), gathered = random<BFloat16>({3, hidden}, 6);
    run([&](auto side, Stream& stream) {
        embedding_forward(side(out), side(table), side(tokens), stream);
        embedding_backward(side(d_table), side(d_out), side(tokens), stream);
        gather_rows(side(gathered), side(in), side(some), stream);
        scatter_rows(side(scattered), side(out).rows(0, 3), side(some), stream);
    });
    for (auto const* const tensor : {&out, &d_table, &scattered}) tensor->expect_same();
    gathered.expect_same();
}

TEST_P(Backends, Rotary) {
    auto const check = [&]<class E>() {
        auto const x = random<E>({5, 3, 80}, 1);
        auto const positions = twice(Ids{0, 1, 77, 4097, 100000}, {5});
        run([&](auto side, Stream& stream) {
            rotary_forward(side(x), side(positions), {10000.0, 64}, stream);
            rotary_backward(side(x), side(positions), {10000.0, 20}, stream);
        });
        x.expect_near(4 * epsilon_f32, sizeof(E) == 2 ? 4 * epsilon_of<E> : 0);
    };
    check.template operator()<float>();
    check.template operator()<BFloat16>();
}

TEST_P(Backends, Norms) {
    auto const check = [&]<class E>() {
        auto const in = random(matrix, 1, 2), branch = random(matrix, 2), sum = random(matrix, 3);
        auto const weight = random({hidden}, 3), bias = random({hidden}, 4), d_out = random(matrix, 5);
        auto const mean = random({rows}, 6), rstd = random({rows}, 6);
        auto const out = random<E>(matrix, 6), d_compute = random<E>(matrix, 6);
        auto const d_in = random(matrix, 7), d_weight = random({hidden}, 8), d_bias = random({hidden}, 9);
        auto const compare = [&] {
            for (auto const* const tensor : {&mean, &rstd, &d_in, &d_weight, &d_bias})
                tensor->expect_near(row_sums, 2 * row_sums);
            sum.expect_same();
            for (auto const* const tensor : {&out, &d_compute}) tensor->expect_near(row_sums, 2 * elementwise<E>);
        };
        run([&](auto side, Stream& stream) {
            rmsnorm_forward(side(out), side(rstd), side(sum), side(in), side(branch), side(weight), 1e-5F, stream);
            rmsnorm_backward(side(d_in), side(d_compute), Accumulate::add, side(d_weight), side(d_out), side(sum),
                             side(rstd), side(weight), stream);
        });
        compare();
        run([&](auto side, Stream& stream) {
            NormWeight const offset{side(weight), 1};
            rmsnorm_forward(side(out), side(rstd), {}, side(in), {}, offset, 1e-5F, stream);
            rmsnorm_backward(side(d_in), side(d_compute), Accumulate::overwrite, side(d_weight), side(d_out), side(in),
                             side(rstd), offset, stream);
        });
        compare();
        run([&](auto side, Stream& stream) {
            layernorm_forward(side(out), side(mean), side(rstd), side(sum), side(in), side(branch), side(weight),
                              side(bias), 1e-5F, stream);
            layernorm_backward(side(d_in), side(d_compute), Accumulate::overwrite, side(d_weight), side(d_bias),
                               side(d_out), side(sum), side(mean), side(rstd), side(weight), stream);
        });
        compare();
    };
    check.template operator()<float>();
    check.template operator()<BFloat16>();
}

TEST_P(Backends, NormsOfHeads) {
    Shape const heads{rows * 6, 80};
    auto const in = random<BFloat16>(heads, 1, 2), out = random<BFloat16>(heads, 2), d_out = random<BFloat16>(heads, 3),
               d_in = random<BFloat16>(heads, 4);
    auto const weight = random({80}, 5), d_weight = random({80}, 6), rstd = random({rows * 6}, 7);
    run([&](auto side, Stream& stream) {
        rmsnorm_forward(side(out), side(rstd), {}, side(in), {}, side(weight), 1e-5F, stream);
        rmsnorm_backward({}, side(d_in), Accumulate::overwrite, side(d_weight), side(d_out), side(in), side(rstd),
                         side(weight), stream);
    });
    for (auto const* const tensor : {&rstd, &d_weight}) tensor->expect_near(row_sums, 2 * row_sums);
    for (auto const* const tensor : {&out, &d_in}) tensor->expect_near(row_sums, 2 * elementwise<BFloat16>);
}

TEST_P(Backends, Logits) {
    std::int64_t const count = 5, vocabulary = 5003;
    auto const logits = random({count, vocabulary}, 1, 12);
    auto const weight = twice(Floats{1, 0.5F, 2, 0, 1}, {count});
    auto const targets = twice(Ids{0, 5002, 2500, 1, 1023}, {count});
    auto const total = random({count}, 2), log_probability = random({count}, 2);
    auto const best = twice(Ids(count), {count});
    auto const gradient = random({count, vocabulary}, 3);
    auto const narrow = random<BFloat16>({count, vocabulary}, 3);
    run([&](auto side, Stream& stream) {
        log_sum_exp(side(total), side(logits), stream);
        target_log_probability(side(log_probability), side(logits), side(total), side(targets), stream);
        argmax(side(best), side(logits), vocabulary - 3, stream);
        cross_entropy_backward(side(gradient), side(logits), side(total), side(targets), side(weight), stream);
        cross_entropy_backward(side(narrow), side(logits), side(total), side(targets), side(weight), stream);
    });
    total.expect_near(0, 10 * epsilon_f32);
    log_probability.expect_near(64 * epsilon_f32, 10 * epsilon_f32);
    best.expect_same();
    gradient.expect_near(1e-12, elementwise<float>);
    narrow.expect_near(1e-12, elementwise<BFloat16>);
}

// Weights that differ in their last bits move the places where the token changes by 10^-7 of all: not to be met.
TEST_P(Backends, Sampling) {
    std::int64_t const vocabulary = 5003;
    std::vector<Sampling> draws;
    Random const random_bits(7, Purpose::test);
    for (double const temperature : {0.0, 0.7, 1.0})
        for (std::int64_t const top_k : {0, 40})
            for (double const top_p : {1.0, 0.9})
                draws.push_back(
                    {temperature, top_p, top_k, random_bits.bits({1, static_cast<std::uint32_t>(draws.size()), 0})});
    auto const count = static_cast<std::int64_t>(draws.size());
    auto const logits = random({count, vocabulary}, 1, 12);
    auto const tokens = twice(Ids(draws.size()), {count});
    auto const log_probability = random({count}, 2), total = random({count}, 2);
    run([&](auto side, Stream& stream) {
        sample(side(tokens), side(log_probability), side(total), side(logits), vocabulary, draws, stream);
    });
    tokens.expect_same();
    log_probability.expect_near(200 * epsilon_f32, 10 * epsilon_f32);
    total.expect_near(0, 10 * epsilon_f32);
}

INSTANTIATE_TEST_SUITE_P(Devices, Backends, test::backends(), test::name_of_backend);

}  // namespace
}  // namespace selvage::kernels

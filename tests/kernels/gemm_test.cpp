// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "device/cpu/cpu_device.h"
#include "kernels/gemm_definition.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::defined;
using test::expect_near;
using test::Floats;
using test::random_floats;
using test::same_bits;
using test::view;

Floats defined_forward(Floats const& in, Floats const& weight, std::int64_t m, std::int64_t n, std::int64_t k) {
    Floats out(static_cast<std::size_t>(m * n));
    for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j)
            out[static_cast<std::size_t>(i * n + j)] = defined(k, [&](std::int64_t x) {
                return std::pair(in[static_cast<std::size_t>(i * k + x)], weight[static_cast<std::size_t>(j * k + x)]);
            });
    return out;
}

struct Size {
    std::int64_t n;
    std::int64_t k;
};
constexpr Size sizes[] = {{1, 1},     {64, 64},   {48, 100},  {65, 511},   {100, 512},  {96, 513},  {130, 768},
                          {64, 1024}, {70, 1025}, {33, 1536}, {128, 2500}, {600, 1100}, {330, 2100}};

class Gemm : public testing::TestWithParam<Size> {
  protected:
    Stream stream{DeviceKind::cpu};
};

TEST_P(Gemm, ForwardFollowsTheDefinitionAtAnyRowCountPackedOrPlain) {
    auto const [n, k] = GetParam();
    std::int64_t const most = 300;
    Floats const in = random_floats(most * k, 1);
    Floats const weight = random_floats(n * k, 2);
    Floats const bias = random_floats(n, 3);
    Floats const checked = defined_forward({in.begin(), in.begin() + 3 * k}, weight, 3, n, k);
    auto const device = make_cpu_device();
    Arena arena(*device);
    PackedWeight const packed(arena, view(weight, {n, k}));
    Floats all(static_cast<std::size_t>(most * n));
    linear_forward(view(all, {most, n}), view(in, {most, k}), view(weight, {n, k}), {}, stream);
    EXPECT_TRUE(same_bits(checked.data(), all.data(), checked.size()));
    for (std::int64_t const m : {1, 2, 3, 5, 6, 7, 12, 16, 17, 33, 64, 97, 200, 300}) {
        Floats const part(in.end() - m * k, in.end());
        Floats out(static_cast<std::size_t>(m * n), -1.0F);
        linear_forward(view(out, {m, n}), view(part, {m, k}), view(weight, {n, k}), {}, stream);
        EXPECT_TRUE(same_bits(out.data(), all.data() + (most - m) * n, out.size())) << "plain, " << m << " rows";
        std::fill(out.begin(), out.end(), -1.0F);
        linear_forward(view(out, {m, n}), view(part, {m, k}), packed, {}, stream);
        EXPECT_TRUE(same_bits(out.data(), all.data() + (most - m) * n, out.size())) << "packed, " << m << " rows";
        linear_forward(view(out, {m, n}), view(part, {m, k}), packed, view(bias, {n}), stream);
        for (std::size_t i = 0; i < out.size(); ++i)
            ASSERT_EQ(out[i],
                      all[static_cast<std::size_t>((most - m) * n) + i] + bias[i % static_cast<std::size_t>(n)]);
    }
}

TEST_P(Gemm, BackwardInputFollowsTheDefinition) {
    auto const [k, n] = GetParam();  // the sum goes over n
    std::int64_t const most = 70;
    Floats const d_out = random_floats(most * n, 4);
    Floats const weight = random_floats(n * k, 5);
    Floats const before = random_floats(most * k, 6);
    for (std::int64_t const m : {1, 4, 16, 70}) {
        Floats d_in(static_cast<std::size_t>(m * k));
        linear_backward_input(view(d_in, {m, k}), TensorView::of(d_out.data(), {m, n}), view(weight, {n, k}),
                              Accumulate::overwrite, stream);
        for (std::int64_t const row : {std::int64_t{0}, m - 1})
            for (std::int64_t j = 0; j < k; ++j) {
                float const wanted = defined(n, [&](std::int64_t x) {
                    return std::pair(d_out[static_cast<std::size_t>(row * n + x)],
                                     weight[static_cast<std::size_t>(x * k + j)]);
                });
                ASSERT_EQ(d_in[static_cast<std::size_t>(row * k + j)], wanted) << m << " rows, " << row << ", " << j;
            }
        Floats sum(before.begin(), before.begin() + m * k);
        linear_backward_input(view(sum, {m, k}), TensorView::of(d_out.data(), {m, n}), view(weight, {n, k}),
                              Accumulate::add, stream);
        for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(sum[i], before[i] + d_in[i]) << m << " rows";
    }
}

TEST_P(Gemm, BackwardWeightSumsRowsInOrderInCallsOf1024) {
    auto const [n, m] = GetParam();
    std::int64_t const k = 70;
    Floats const d_out = random_floats(m * n, 7);
    Floats const in = random_floats(m * k, 8);
    Floats const before = random_floats(n * k, 9);
    Floats const bias_before = random_floats(n, 10);
    Floats d_weight = before;
    Floats d_bias = bias_before;
    linear_backward_weight(view(d_weight, {n, k}), view(d_bias, {n}), view(d_out, {m, n}), view(in, {m, k}),
                           Accumulate::add, stream);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < k; ++j) {
            float wanted = before[static_cast<std::size_t>(i * k + j)];
            for (std::int64_t first = 0; first < m; first += 1024)
                wanted += defined(std::min<std::int64_t>(1024, m - first), [&](std::int64_t x) {
                    return std::pair(d_out[static_cast<std::size_t>((first + x) * n + i)],
                                     in[static_cast<std::size_t>((first + x) * k + j)]);
                });
            ASSERT_EQ(d_weight[static_cast<std::size_t>(i * k + j)], wanted) << i << ", " << j;
        }
    for (std::int64_t i = 0; i < n; ++i) {
        float wanted = bias_before[static_cast<std::size_t>(i)];
        for (std::int64_t row = 0; row < m; ++row) wanted += d_out[static_cast<std::size_t>(row * n + i)];
        ASSERT_EQ(d_bias[static_cast<std::size_t>(i)], wanted);
    }
}

TEST_P(Gemm, ThreadsDoNotChangeABit) {
    auto const [n, k] = GetParam();
    std::int64_t const m = 110;
    Floats const in = random_floats(m * k, 11), weight = random_floats(n * k, 12), d_out = random_floats(m * n, 13);
    int const threads_before = omp_get_max_threads();
    Floats first;
    for (int const threads : {1, 2, 3, 5}) {
        omp_set_num_threads(threads);
        Floats out(static_cast<std::size_t>(m * n)), d_in(in.size(), 1.0F), d_weight(weight.size(), 2.0F);
        linear_forward(view(out, {m, n}), view(in, {m, k}), view(weight, {n, k}), {}, stream);
        linear_backward_input(view(d_in, {m, k}), view(d_out, {m, n}), view(weight, {n, k}), Accumulate::add, stream);
        linear_backward_weight(view(d_weight, {n, k}), {}, view(d_out, {m, n}), view(in, {m, k}), Accumulate::add,
                               stream);
        test::append(out, d_in);
        test::append(out, d_weight);
        if (first.empty()) first = out;
        EXPECT_TRUE(same_bits(first, out)) << threads << " threads";
    }
    omp_set_num_threads(threads_before);
}

// What several gradients share changes none of them.
TEST_P(Gemm, GradientsOfOneInputAreThoseOfEach) {
    auto const [n, m] = GetParam();
    std::int64_t const k = 70;
    Floats const in = random_floats(m * k, 14), d_out = random_floats(m * n, 15), other = random_floats(m * 7, 16);
    Floats one(static_cast<std::size_t>(n * k)), two(static_cast<std::size_t>(7 * k));
    Floats same_one = one, same_two = two;
    WeightGradient const both[] = {{view(one, {n, k}), {}, view(d_out, {m, n})},
                                   {view(two, {7, k}), {}, view(other, {m, 7})}};
    linear_backward_weights(both, view(in, {m, k}), Accumulate::overwrite, stream);
    linear_backward_weight(view(same_one, {n, k}), {}, view(d_out, {m, n}), view(in, {m, k}), Accumulate::overwrite,
                           stream);
    linear_backward_weight(view(same_two, {7, k}), {}, view(other, {m, 7}), view(in, {m, k}), Accumulate::overwrite,
                           stream);
    EXPECT_TRUE(same_bits(one, same_one));
    EXPECT_TRUE(same_bits(two, same_two));
}

INSTANTIATE_TEST_SUITE_P(Sizes, Gemm, testing::ValuesIn(sizes), [](auto const& info) {
    return std::to_string(info.param.n) + "x" + std::to_string(info.param.k);
});

}  // namespace
}  // namespace selvage::kernels

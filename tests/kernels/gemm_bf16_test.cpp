// SPDX-License-Identifier: Apache-2.0
// bfloat16 products keep their defined order of sums, for any number of rows and threads.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "device/cpu/cpu_device.h"
#include "kernels/cpu/table.h"
#include "kernels/gemm.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::Bf16s;
using test::Floats;
using test::random_floats;
using test::rounded;
using test::same_bits;
using test::value;
using test::view;

Stream stream(DeviceKind::cpu);

// One output by plain loops, as kernels/README.md defines it: a(k), b(k) give bfloat16 values as floats.
template <class A, class B>
float by_definition(Bf16Order order, std::int64_t k, A const& a, B const& b) {
    float total = 0;
    std::int64_t const block = order == Bf16Order::tiles ? k : gemm_k_block(k);
    for (std::int64_t begin = 0; begin < k; begin += block) {
        std::int64_t const end = std::min(k, begin + block);
        float sum = 0;
        if (order == Bf16Order::pairs) {
            for (std::int64_t i = begin; i < end; i += 2) {
                if (i + 1 < end) sum = std::fma(a(i + 1), b(i + 1), sum);
                sum = std::fma(a(i), b(i), sum);
            }
        } else {
            for (std::int64_t i = begin; i < end; i += 32) {
                float even = 0, odd = 0;
                for (std::int64_t j = i; j < std::min(end, i + 32); ++j) {
                    float& half = j % 2 == 0 ? even : odd;
                    half = std::fma(a(j), b(j), half);
                }
                sum += even + odd;
            }
        }
        total = begin == 0 ? sum : total + sum;
    }
    return total;
}

struct Case {
    std::int64_t m, n, k;
};
// Calls check(row, column) for outputs spread over all of them, fewer where each is dear.
template <class Check>
void over_outputs(std::int64_t m, std::int64_t n, std::int64_t k, Check const& check) {
    std::int64_t const every = (m * n * k >> 21) | 1;
    for (std::int64_t at = 0; at < m * n && !testing::Test::HasFatalFailure(); at += every) check(at / n, at % n);
    if (!testing::Test::HasFatalFailure()) check(m - 1, n - 1);
}

// Few and many rows, tails in every dim, both places where blocks of k change, and k beyond one round of work.
constexpr Case cases[] = {{1, 64, 64},   {3, 100, 48},   {16, 64, 512},  {17, 130, 513}, {40, 70, 768},
                          {70, 64, 100}, {300, 72, 768}, {33, 72, 1025}, {9, 48, 2048},  {66, 1100, 2500}};

class GemmBf16 : public testing::TestWithParam<int> {
  protected:
    void SetUp() override { omp_set_num_threads(GetParam()); }
    void TearDown() override { omp_set_num_threads(before_); }
    Bf16Order order_ = kernel_table().bf16_order;
    std::unique_ptr<Device> const device_ = make_cpu_device();
    Arena arena_{*device_};

  private:
    int before_ = omp_get_max_threads();
};
INSTANTIATE_TEST_SUITE_P(Threads, GemmBf16, testing::Values(1, 2, 3));

TEST_P(GemmBf16, ForwardKeepsTheOrder) {
    for (auto const& [m, n, k] : cases) {
        SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
        Bf16s const in = rounded(random_floats(m * k, 1));
        Floats const weight = random_floats(n * k, 2), bias = random_floats(n, 3);
        Bf16s const weight_bits = rounded(weight);
        PackedWeight const packed(arena_, view(weight, {n, k}), DType::bf16);
        Floats out(static_cast<std::size_t>(m * n));
        Bf16s out_bits(out.size());
        linear_forward(view(out, {m, n}), view(in, {m, k}), packed, view(bias, {n}), stream);
        linear_forward(view(out_bits, {m, n}), view(in, {m, k}), packed, {}, stream);
        over_outputs(m, n, k, [&, n = n, k = k](std::int64_t i, std::int64_t j) {
            float const sum = by_definition(
                order_, k, [&](std::int64_t x) { return value(in[i * k + x]); },
                [&](std::int64_t x) { return value(weight_bits[j * k + x]); });
            ASSERT_EQ(out[i * n + j], sum + bias[j]);
            ASSERT_EQ(value(out_bits[i * n + j]), value(rounded(sum)));
        });
    }
}

TEST_P(GemmBf16, InputGradientsKeepTheOrder) {
    for (auto const& [m, n, k] : cases) {
        SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
        Bf16s const d_out = rounded(random_floats(m * k, 1));
        Floats const weight = random_floats(k * n, 2), start = random_floats(m * n, 3);
        Bf16s const weight_bits = rounded(weight);
        PackedWeight const packed(arena_, view(weight, {k, n}), DType::bf16, PackedWeight::Use::training);
        Floats d_in = start;
        linear_backward_input(view(d_in, {m, n}), view(d_out, {m, k}), packed, Accumulate::add, stream);
        over_outputs(m, n, k, [&, n = n, k = k](std::int64_t i, std::int64_t j) {
            float const sum = by_definition(
                order_, k, [&](std::int64_t x) { return value(d_out[i * k + x]); },
                [&](std::int64_t x) { return value(weight_bits[x * n + j]); });
            ASSERT_EQ(d_in[i * n + j], start[i * n + j] + sum);
        });
    }
}

TEST_P(GemmBf16, WeightGradientsKeepTheOrder) {
    for (auto const& [n, k, m] : cases) {
        SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
        Bf16s const in = rounded(random_floats(m * k, 1)), d_out = rounded(random_floats(m * n, 2));
        Floats const start = random_floats(n * k, 3);
        for (Accumulate const accumulate : {Accumulate::add, Accumulate::overwrite}) {
            Floats d_weight = start;
            linear_backward_weight(view(d_weight, {n, k}), {}, view(d_out, {m, n}), view(in, {m, k}), accumulate,
                                   stream);
            over_outputs(n, k, m, [&, n = n, k = k, m = m](std::int64_t i, std::int64_t j) {
                float wanted = accumulate == Accumulate::add ? start[i * k + j] : 0.0F;
                for (std::int64_t row = 0; row < m; row += 1024)
                    wanted += by_definition(
                        order_, std::min<std::int64_t>(1024, m - row),
                        [&](std::int64_t x) { return value(d_out[(row + x) * n + i]); },
                        [&](std::int64_t x) { return value(in[(row + x) * k + j]); });
                ASSERT_EQ(d_weight[i * k + j], wanted);
            });
        }
    }
}

// A row's bits are its own, in any company.
TEST_P(GemmBf16, RowsDoNotDependOnTheirNumber) {
    std::int64_t const n = 192, k = 1100, most = 300;
    Bf16s const in = rounded(random_floats(most * k, 1));
    PackedWeight const packed(arena_, view(random_floats(n * k, 2), {n, k}), DType::bf16);
    Floats all(static_cast<std::size_t>(most * n));
    linear_forward(view(all, {most, n}), view(in, {most, k}), packed, {}, stream);
    for (std::int64_t const m : {1, 2, 3, 8, 15, 16, 31, 32, 33, 64, 65, 128})
        for (std::int64_t const first : {0, 5, 150}) {
            Bf16s const part(in.begin() + first * k, in.begin() + (first + m) * k);
            Floats out(static_cast<std::size_t>(m * n));
            linear_forward(view(out, {m, n}), view(part, {m, k}), packed, {}, stream);
            ASSERT_TRUE(same_bits(out.data(), all.data() + first * n, out.size())) << m << " rows from " << first;
        }
}

}  // namespace
}  // namespace selvage::kernels

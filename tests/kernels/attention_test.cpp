// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include <omp.h>

#include "kernels/attention_gradients.h"

namespace selvage::kernels {
namespace {

using test::AttentionBatch;
using test::AttentionCase;
using test::Buffer;
using test::d_out_of;
using test::Doubles;
using test::exp_error;
using test::Floats;
using test::PlainAttention;
using test::PlainGradients;
using test::same_bits;
using test::score_error;
using test::view;

class Attention : public testing::TestWithParam<AttentionCase> {};

TEST_P(Attention, ForwardAgreesWithAPlainLoop) {
    for (std::int64_t const length : {1, 63, 64, 65, 200, 513}) {
        AttentionBatch batch(GetParam(), {length});
        auto const got = batch.forward();
        Doubles const q = batch.queries.doubles(), k = batch.keys.doubles(), v = batch.values.doubles();
        AttentionCase const c = batch.sizes;
        PlainAttention const plain{c, batch.scale, q.data(), k.data(), v.data()};
        // A weight is off by its score's error, twice (its own and the sum's); an output by `length` roundings more. In
        // bf16 the weights and the outputs, of size 1, are rounded.
        double const f32_error =
            2 * (score_error(batch) + exp_error(c.dtype)) + 4 * test::epsilon_f32 * static_cast<double>(length + 64);
        double const tolerance = f32_error + (c.dtype == DType::bf16 ? 2.01 * test::epsilon_bf16 : 0);
        Doubles wanted(static_cast<std::size_t>(c.head_size));
        Doubles weights;
        for (std::int64_t row = 0; row < length; row += row % 7 + 1)
            for (std::int64_t head = 0; head < c.heads; ++head) {
                plain.row(row, head, wanted.data());
                for (std::int64_t d = 0; d < c.head_size; ++d)
                    ASSERT_NEAR(got.out.at(plain.query_at(row, head) + d), wanted[static_cast<std::size_t>(d)],
                                tolerance)
                        << length << " row " << row;
                ASSERT_NEAR(got.log_sum_exp[static_cast<std::size_t>(row * c.heads + head)],
                            plain.log_sum_exp(row, head, weights), f32_error + 20 * test::epsilon_f32);
            }
    }
}

TEST_P(Attention, BitsOfARowDependOnItsSequenceAlone) {
    for (std::int64_t const length : {63, 64, 65, 511, 512, 513, 1100}) {
        AttentionCase const c = GetParam();
        if ((length == 1100 || length == 511) && c.head_size > 64) continue;
        AttentionBatch batch(c, {length});
        auto const together = batch.forward();
        // The same rows second in a batch, on other pages.
        AttentionBatch other(c, {length, 70}, true);
        std::int64_t const own = batch.queries.size();
        other.queries.copy_from(batch.queries, own);
        other.keys.copy_from(batch.keys, batch.keys.size());
        other.values.copy_from(batch.values, batch.values.size());
        EXPECT_TRUE(other.forward().out.same_bits(together.out, own)) << length;
        // Prefill of a part, then some rows, then row by row. What an earlier owner left in the pages is NaN or
        // infinite.
        for (unsigned char const left : {0xff, 0x7f}) {
            AttentionBatch decode(c, {length}, true);
            decode.pages = Buffer(c.dtype, decode.pages.size(), left);
            Buffer const out(c.dtype, own, 0);
            Floats log_sum_exp(together.log_sum_exp.size());
            std::int64_t const part = length * 2 / 3;
            for (std::int64_t first = 0, rows = part; first < length; first += rows, rows = first < part + 40 ? 8 : 1) {
                rows = std::min(rows, length - first);
                std::int64_t const key = first * c.kv_heads * c.head_size;
                std::int64_t const query = first * c.heads * c.head_size;
                AttentionSegment const segment{0, rows, first, decode.tables[0]};
                store_kv(decode.kv(), batch.keys.view(decode.key_shape(rows), key),
                         batch.values.view(decode.key_shape(rows), key), {&segment, 1}, decode.stream);
                attention_forward(out.view(decode.query_shape(rows), query),
                                  TensorView::of(log_sum_exp.data() + first * c.heads, {rows, c.heads}),
                                  batch.queries.view(decode.query_shape(rows), query), decode.kv(), {&segment, 1},
                                  batch.options(), decode.stream);
            }
            EXPECT_TRUE(out == together.out) << length;
            EXPECT_TRUE(same_bits(log_sum_exp, together.log_sum_exp)) << length;
        }
    }
}

TEST_P(Attention, BackwardAgreesWithAPlainLoop) {
    for (std::int64_t const length : {1, 40, 64, 67, 200}) {
        if (length > 100 && GetParam().head_size > 100) continue;
        AttentionBatch batch(GetParam(), {length});
        auto const forward = batch.forward();
        Buffer const d_out = d_out_of(batch);
        auto const got = batch.backward(forward, d_out);
        PlainGradients const wanted(batch, forward, d_out);
        ASSERT_NO_FATAL_FAILURE(wanted.expect_near(got, batch.sizes.dtype)) << length << " rows";
    }
}

TEST_P(Attention, BackwardAgreesWithFiniteDifferences) {
    AttentionCase const c = GetParam();
    std::int64_t const length = c.head_size > 100 ? 40 : 67;
    AttentionBatch batch(c, {length});
    auto const forward = batch.forward();
    Buffer const d_out = d_out_of(batch);
    auto const got = batch.backward(forward, d_out);
    PlainGradients const plain_gradients(batch, forward, d_out);
    Doubles q = batch.queries.doubles(), k = batch.keys.doubles(), v = batch.values.doubles();
    Doubles const d = d_out.doubles();
    PlainAttention const plain{c, batch.scale, q.data(), k.data(), v.data()};
    auto const loss = [&] {
        double sum = 0;
        Doubles out(static_cast<std::size_t>(c.head_size));
        for (std::int64_t row = 0; row < length; ++row)
            for (std::int64_t head = 0; head < c.heads; ++head) {
                plain.row(row, head, out.data());
                sum += std::inner_product(out.begin(), out.end(), d.begin() + plain.query_at(row, head), 0.0);
            }
        return sum;
    };
    double const step = 1e-5;
    auto const check = [&](Doubles& x, Buffer const& gradient, Doubles const& error) {
        for (std::size_t i = 0; i < x.size(); i += x.size() / 11 + 1) {
            double const kept = x[i];
            x[i] = kept + step;
            double const above = loss();
            x[i] = kept - step;
            double const below = loss();
            x[i] = kept;
            // Sums of up to rows * group terms of size 1, each with head_size roundings before it. In bf16 outputs are
            // rounded, by up to two units of 1 in each of head_size terms: an error of `mean` that all keys share.
            double const terms = static_cast<double>(length * c.heads / c.kv_heads + c.head_size * 4);
            double const wanted = (above - below) / (2 * step);
            double tolerance = 16 * terms * test::epsilon_f32 * 3 + 1e-6;
            if (c.dtype == DType::bf16)
                tolerance += error[i] + test::epsilon_bf16 *
                                            (std::abs(wanted) + 2 * 3 * batch.scale * static_cast<double>(c.head_size));
            ASSERT_NEAR(gradient.at(static_cast<std::int64_t>(i)), wanted, tolerance) << i;
        }
    };
    check(q, got.queries, plain_gradients.queries_error);
    check(k, got.keys, plain_gradients.keys_error);
    check(v, got.values, plain_gradients.values_error);
}

TEST_P(Attention, GradientsDependOnTheirSequenceAloneAndNotOnThreads) {
    AttentionCase const c = GetParam();
    std::vector<std::int64_t> const lengths = {330, 1, 64, 150};
    AttentionBatch batch(c, lengths);
    auto const forward = batch.forward();
    Buffer const d_out = d_out_of(batch);
    int const before = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const wanted = batch.backward(forward, d_out);
    for (int const threads : {2, 3, 8}) {
        omp_set_num_threads(threads);
        EXPECT_TRUE(batch.backward(forward, d_out) == wanted) << threads;
        auto const again = batch.forward();
        EXPECT_TRUE(again.out == forward.out && same_bits(again.log_sum_exp, forward.log_sum_exp)) << threads;
    }
    omp_set_num_threads(before);
    AttentionBatch alone(c, {lengths[0]});
    alone.queries.copy_from(batch.queries, alone.queries.size());
    alone.keys.copy_from(batch.keys, alone.keys.size());
    alone.values.copy_from(batch.values, alone.values.size());
    Buffer d_out_alone(c.dtype, alone.queries.size(), 0);
    d_out_alone.copy_from(d_out, alone.queries.size());
    auto const got = alone.backward(alone.forward(), d_out_alone);
    EXPECT_TRUE(got.queries.same_bits(wanted.queries, got.queries.size()));
    EXPECT_TRUE(got.keys.same_bits(wanted.keys, got.keys.size()));
    EXPECT_TRUE(got.values.same_bits(wanted.values, got.values.size()));
}

std::vector<AttentionCase> cases() {
    std::vector<AttentionCase> list = {{1, 1, 64}, {4, 2, 32}, {3, 1, 80}, {2, 2, 6}, {4, 2, 128}, {1, 1, 250}};
    std::size_t const count = list.size();
    for (std::size_t i = 0; i < count; ++i) {
        list.push_back(list[i]);
        list.back().dtype = DType::bf16;
    }
    list.push_back({5, 1, 8, DType::bf16});
    // Windows that begin inside pages, at their first keys, and leave out splits.
    for (DType const dtype : {DType::f32, DType::bf16})
        for (auto const& [softcap, window] : {std::pair{2, 0}, std::pair{0, 70}, std::pair{3, 20}, std::pair{0, 128}})
            list.push_back({4, 2, 32, dtype, softcap, window});
    list.push_back({1, 1, 6, DType::f32, 0, 1});
    list.push_back({3, 1, 24, DType::bf16, 0, 1});
    return list;
}

INSTANTIATE_TEST_SUITE_P(Cases, Attention, testing::ValuesIn(cases()),
                         [](auto const& info) { return info.param.name(); });

}  // namespace
}  // namespace selvage::kernels

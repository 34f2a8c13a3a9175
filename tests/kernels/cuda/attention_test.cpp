// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include <algorithm>
#include <utility>

#include "kernels/attention_gradients.h"
#include "kernels/cuda/emulated.h"

namespace selvage::kernels {

// What the batches of the tests call.
void store_kv(KvPages pages, TensorView keys, TensorView values, std::span<AttentionSegment const> segments,
              Stream& stream) {
    test::emulated().store_kv(pages, keys, values, segments, stream);
}
void attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                       std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream) {
    test::emulated().attention_forward(out, log_sum_exp, queries, pages, segments, options, stream);
}
void attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                        TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                        std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream) {
    test::emulated().attention_backward(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys, values,
                                        segments, options, stream);
}

namespace {

using test::AttentionBatch;
using test::AttentionCase;
using test::Buffer;
using test::Doubles;
using test::Floats;
using test::PlainAttention;
using test::PlainGradients;
using test::same_bits;
using test::tiny;

AttentionBatch batch_of(AttentionCase const& sizes, std::vector<std::int64_t> lengths, bool reversed_pages = false) {
    AttentionBatch batch(sizes, std::move(lengths), reversed_pages);
    batch.stream = test::emulated_stream();
    return batch;
}

#ifdef __SANITIZE_ADDRESS__
constexpr std::int64_t longest = 100;
#else
constexpr std::int64_t longest = tiny ? 0 : 2000;
#endif

class EmulatedAttention : public testing::TestWithParam<AttentionCase> {
  protected:
    static AttentionCase sizes() { return GetParam(); }
    // In fp32 every row of a head is a block of its own.
    static bool small() { return sizes().head_size * sizes().heads <= (sizes().dtype == DType::bf16 ? 64 : 8); }
    // Lengths for heads of any size, and longer ones where that is cheap.
    static std::vector<std::int64_t> lengths(std::vector<std::int64_t> all, std::vector<std::int64_t> const& cheap) {
        for (std::int64_t const length : cheap)
            if (small() && length < longest) all.push_back(length);
        return all;
    }
};

TEST_P(EmulatedAttention, ForwardAgreesWithAPlainLoop) {
    for (std::int64_t const length : lengths({1, 67}, {63, 64, 65, 200, 511, 513, 1030})) {
        AttentionCase const c = sizes();
        AttentionBatch batch = batch_of(c, {length}, true);
        auto const got = batch.forward();
        Doubles const q = batch.queries.doubles(), k = batch.keys.doubles(), v = batch.values.doubles();
        PlainAttention const plain{c, batch.scale, q.data(), k.data(), v.data()};
        // As on the processor: a weight is off by its score's error, twice, an output by `length` roundings more. In
        // bf16 weights and outputs are rounded.
        double const f32_error = 2 * score_error(batch) + 4 * test::epsilon_f32 * static_cast<double>(length + 64);
        double const tolerance = f32_error + (c.dtype == DType::bf16 ? 2.01 * test::epsilon_bf16 : 0);
        Doubles wanted(static_cast<std::size_t>(c.head_size)), weights;
        for (std::int64_t row = 0; row < length; row += row % 7 + 1)
            for (std::int64_t head = 0; head < c.heads; ++head) {
                plain.row(row, head, wanted.data());
                for (std::int64_t d = 0; d < c.head_size; ++d)
                    ASSERT_NEAR(got.out.at(plain.query_at(row, head) + d), wanted[static_cast<std::size_t>(d)],
                                tolerance)
                        << length << " row " << row << " head " << head << " dim " << d;
                ASSERT_NEAR(got.log_sum_exp[static_cast<std::size_t>(row * c.heads + head)],
                            plain.log_sum_exp(row, head, weights), f32_error + 20 * test::epsilon_f32);
            }
    }
}

// The rows of `batch`, the only sequence there, in calls of some rows each: rows_of_call(first row).
template <class RowsOfCall>
void expect_same_in_calls(AttentionBatch const& batch, AttentionBatch::Result const& wanted, unsigned char left,
                          RowsOfCall const& rows_of_call) {
    AttentionCase const c = batch.sizes;
    AttentionBatch calls = batch_of(c, batch.lengths, true);
    calls.pages = Buffer(c.dtype, calls.pages.size(), left);  // an earlier owner's
    Buffer const out(c.dtype, batch.queries.size(), 0);
    Floats log_sum_exp(wanted.log_sum_exp.size());
    for (std::int64_t first = 0, rows = 0; first < batch.rows; first += rows) {
        rows = std::min<std::int64_t>(rows_of_call(first), batch.rows - first);
        std::int64_t const key = first * c.kv_heads * c.head_size;
        std::int64_t const query = first * c.heads * c.head_size;
        AttentionSegment const segment{0, rows, first, calls.tables[0]};
        store_kv(calls.kv(), batch.keys.view(calls.key_shape(rows), key), batch.values.view(calls.key_shape(rows), key),
                 {&segment, 1}, calls.stream);
        attention_forward(out.view(calls.query_shape(rows), query),
                          TensorView::of(log_sum_exp.data() + first * c.heads, {rows, c.heads}),
                          batch.queries.view(calls.query_shape(rows), query), calls.kv(), {&segment, 1},
                          batch.options(), calls.stream);
    }
    EXPECT_TRUE(out == wanted.out) << batch.rows;
    EXPECT_TRUE(same_bits(log_sum_exp, wanted.log_sum_exp)) << batch.rows;
}

TEST_P(EmulatedAttention, BitsDoNotDependOnHowRowsCome) {
    for (std::int64_t const length : lengths({67}, {64, 200, 530})) {
        AttentionBatch batch = batch_of(sizes(), {length});
        auto const together = batch.forward();
        std::int64_t const one_by_one = std::max<std::int64_t>(0, length - 70);
        expect_same_in_calls(batch, together, 0xff,  // NaN
                             [&](std::int64_t first) { return first < one_by_one ? one_by_one : 1; });
        expect_same_in_calls(batch, together, 0x7f, [&](std::int64_t) { return 37; });
    }
}

TEST_P(EmulatedAttention, BitsDoNotDependOnTheBatch) {
    for (std::int64_t const length : lengths({67}, {1, 200})) {
        AttentionBatch batch = batch_of(sizes(), {length});
        auto const alone = batch.forward();
        // The same rows first of several, on other pages; the segments come in another order.
        AttentionBatch several = batch_of(sizes(), {length, 3, 70}, true);
        several.queries.copy_from(batch.queries, batch.queries.size());
        several.keys.copy_from(batch.keys, batch.keys.size());
        several.values.copy_from(batch.values, batch.values.size());
        auto list = several.segments();
        std::reverse(list.begin(), list.end());
        store_kv(several.kv(), several.keys.view(several.key_shape(several.rows)),
                 several.values.view(several.key_shape(several.rows)), list, several.stream);
        Buffer const out(sizes().dtype, several.queries.size(), 0);
        attention_forward(out.view(several.query_shape(several.rows)), {},
                          several.queries.view(several.query_shape(several.rows)), several.kv(), list,
                          several.options(), several.stream);
        EXPECT_TRUE(out.same_bits(alone.out, batch.queries.size())) << length;
    }
}

TEST_P(EmulatedAttention, BackwardAgreesWithAPlainLoop) {
    for (std::int64_t const length : lengths({1, 67}, {40, 64, 200})) {
        AttentionBatch batch = batch_of(sizes(), {length});
        auto const forward = batch.forward();
        Buffer const d_out = d_out_of(batch);
        auto const got = batch.backward(forward, d_out);
        PlainGradients const wanted(batch, forward, d_out);
        ASSERT_NO_FATAL_FAILURE(wanted.expect_near(got, batch.sizes.dtype)) << length << " rows";
    }
}

TEST_P(EmulatedAttention, GradientsDependOnTheirSequenceAlone) {
    std::vector<std::int64_t> const all = lengths({67, 3}, {64, 150, 1});
    AttentionBatch batch = batch_of(sizes(), all);
    Buffer const d_out = d_out_of(batch);
    auto const together = batch.backward(batch.forward(), d_out);
    AttentionBatch alone = batch_of(sizes(), {all[0]});
    alone.queries.copy_from(batch.queries, alone.queries.size());
    alone.keys.copy_from(batch.keys, alone.keys.size());
    alone.values.copy_from(batch.values, alone.values.size());
    Buffer d_out_alone(sizes().dtype, alone.queries.size(), 0);
    d_out_alone.copy_from(d_out, alone.queries.size());
    auto const got = alone.backward(alone.forward(), d_out_alone);
    EXPECT_TRUE(got.queries.same_bits(together.queries, got.queries.size()));
    EXPECT_TRUE(got.keys.same_bits(together.keys, got.keys.size()));
    EXPECT_TRUE(got.values.same_bits(together.values, got.values.size()));
}

std::vector<AttentionCase> cases() {
    if (tiny) return {{2, 1, 16, DType::bf16}, {2, 1, 64, DType::bf16, 2, 20}, {2, 2, 6, DType::f32, 3, 40}};
    return {{1, 1, 6},
            {4, 2, 6},
            {1, 1, 6, DType::f32, 2, 40},
            {3, 1, 80},
            {1, 1, 256},
            {2, 2, 8, DType::bf16},
            {4, 1, 16, DType::bf16},
            {4, 1, 16, DType::bf16, 2, 17},
            {2, 1, 32, DType::bf16},
            {8, 1, 40, DType::bf16},
            {2, 2, 64, DType::bf16},
            {2, 1, 80, DType::bf16},
            {3, 1, 96, DType::bf16},
            {4, 2, 128, DType::bf16},
            {2, 1, 256, DType::bf16},
            {2, 1, 32, DType::bf16, 3, 20}};
}

INSTANTIATE_TEST_SUITE_P(Cases, EmulatedAttention, testing::ValuesIn(cases()),
                         [](auto const& info) { return info.param.name(); });

// With enough tiles a wide one goes over its splits itself; with fewer of them, and with one row, splits are merged
// afterwards.
TEST(EmulatedAttentionSplits, BitsDoNotDependOnWhetherSplitsRunInParallel) {
    AttentionCase const c{40, 40, 8, DType::bf16};
    AttentionBatch batch = batch_of(c, {530});
    auto const segments = batch.segments();
    store_kv(batch.kv(), batch.keys.view(batch.key_shape(530)), batch.values.view(batch.key_shape(530)), segments,
             batch.stream);
    auto const forward = [&](std::int64_t first, std::int64_t rows) {
        AttentionBatch::Result result{Buffer(c.dtype, rows * 40 * 8, 0), Floats(static_cast<std::size_t>(rows * 40))};
        AttentionSegment const segment{0, rows, first, batch.tables[0]};
        attention_forward(result.out.view(batch.query_shape(rows)), test::view(result.log_sum_exp, {rows, 40}),
                          batch.queries.view(batch.query_shape(rows), first * 40 * 8), batch.kv(), {&segment, 1},
                          batch.options(), batch.stream);
        return result;
    };
    auto const many = forward(500, 30);  // in two pages
    for (auto const& [first, rows] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{512, 18}, {511, 1}, {529, 1}}) {
        auto const few = forward(first, rows);
        Buffer wanted(c.dtype, few.out.size(), 0);
        wanted.copy_from(many.out, wanted.size(), (first - 500) * 40 * 8);
        EXPECT_TRUE(few.out == wanted) << first;
        EXPECT_TRUE(
            same_bits(few.log_sum_exp.data(), many.log_sum_exp.data() + (first - 500) * 40, few.log_sum_exp.size()))
            << first;
    }
}

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::Floats;
using test::random_floats;
using test::same_bits;
using test::view;

struct Case {
    std::int64_t heads;
    std::int64_t kv_heads;
    std::int64_t head_size;
};

// A batch of one or more sequences with its pages; everything not written is NaN.
struct Batch {
    Case sizes;
    std::vector<std::int64_t> lengths;
    std::int64_t rows = 0;
    Floats queries, keys, values;
    Floats pages;
    std::vector<std::vector<std::int32_t>> tables;
    float scale;
    Stream stream{DeviceKind::cpu};

    Batch(Case c, std::vector<std::int64_t> sequence_lengths, bool reversed_pages = false)
        : sizes(c), lengths(std::move(sequence_lengths)), scale(1 / std::sqrt(static_cast<float>(c.head_size))) {
        rows = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
        queries = random_floats(rows * c.heads * c.head_size, 21, 3);
        keys = random_floats(rows * c.kv_heads * c.head_size, 22, 3);
        values = random_floats(rows * c.kv_heads * c.head_size, 23);
        std::int32_t count = 0;
        for (std::int64_t const length : lengths) {
            tables.emplace_back(static_cast<std::size_t>((length + 63) / 64));
            for (auto& page : tables.back()) page = count++;
        }
        if (reversed_pages)
            for (auto& table : tables)
                for (auto& page : table) page = count - 1 - page;
        pages.assign(static_cast<std::size_t>(count * page_size()), std::numeric_limits<float>::quiet_NaN());
    }
    std::int64_t page_size() const { return 2 * sizes.kv_heads * sizes.head_size * 64; }
    KvPages kv() const {
        return {view(pages, {static_cast<std::int64_t>(pages.size()) / page_size(), page_size()}), sizes.kv_heads,
                sizes.head_size};
    }
    std::vector<AttentionSegment> segments() const {
        std::vector<AttentionSegment> list;
        std::int64_t row = 0;
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            list.push_back({row, lengths[i], 0, tables[i]});
            row += lengths[i];
        }
        return list;
    }
    Shape query_shape(std::int64_t count) const { return {count, sizes.heads, sizes.head_size}; }
    Shape key_shape(std::int64_t count) const { return {count, sizes.kv_heads, sizes.head_size}; }

    struct Result {
        Floats out;
        Floats log_sum_exp;
    };
    Result forward() {
        auto const list = segments();
        store_kv(kv(), view(keys, key_shape(rows)), view(values, key_shape(rows)), list, stream);
        Result result{Floats(queries.size()), Floats(static_cast<std::size_t>(rows * sizes.heads))};
        attention_forward(view(result.out, query_shape(rows)), view(result.log_sum_exp, {rows, sizes.heads}),
                          view(queries, query_shape(rows)), kv(), list, scale, stream);
        return result;
    }
};

using Doubles = std::vector<double>;

// softmax(q K^T scale) V in double, for one sequence starting at row 0.
struct Plain {
    Case c;
    double scale;
    double const* q;
    double const* k;
    double const* v;
    std::int64_t group() const { return c.heads / c.kv_heads; }
    double const* query(std::int64_t row, std::int64_t head) const { return q + (row * c.heads + head) * c.head_size; }
    double const* at(double const* x, std::int64_t row, std::int64_t head) const {
        return x + (row * c.kv_heads + head / group()) * c.head_size;
    }
    double log_sum_exp(std::int64_t row, std::int64_t head, Doubles& weights) const {
        weights.assign(static_cast<std::size_t>(row + 1), 0);
        double largest = -1e300;
        for (std::int64_t j = 0; j <= row; ++j) {
            double const* const key = at(k, j, head);
            weights[static_cast<std::size_t>(j)] =
                scale * std::inner_product(key, key + c.head_size, query(row, head), 0.0);
            largest = std::max(largest, weights[static_cast<std::size_t>(j)]);
        }
        double sum = 0;
        for (double const score : weights) sum += std::exp(score - largest);
        for (double& score : weights) score = std::exp(score - largest) / sum;
        return largest + std::log(sum);
    }
    void row(std::int64_t row, std::int64_t head, double* out) const {
        Doubles weights;
        log_sum_exp(row, head, weights);
        for (std::int64_t d = 0; d < c.head_size; ++d) {
            out[d] = 0;
            for (std::int64_t j = 0; j <= row; ++j) out[d] += weights[static_cast<std::size_t>(j)] * at(v, j, head)[d];
        }
    }
};

constexpr Case cases[] = {{1, 1, 64}, {4, 2, 32}, {3, 1, 80}, {2, 2, 6}, {4, 2, 128}, {1, 1, 250}};

class Attention : public testing::TestWithParam<Case> {};

TEST_P(Attention, ForwardAgreesWithAPlainLoop) {
    for (std::int64_t const length : {1, 63, 64, 65, 200, 513}) {
        Batch batch(GetParam(), {length});
        auto const got = batch.forward();
        Doubles const q(batch.queries.begin(), batch.queries.end());
        Doubles const k(batch.keys.begin(), batch.keys.end());
        Doubles const v(batch.values.begin(), batch.values.end());
        Plain const plain{batch.sizes, batch.scale, q.data(), k.data(), v.data()};
        Case const c = batch.sizes;
        // A score is off by at most head_size roundings of terms up to 9 scale; a weight by that factor, twice (its own
        // error and the sum's); an output by `length` roundings more.
        double const score_error = test::epsilon_f32 * (static_cast<double>(c.head_size) + 2) * 9 *
                                   static_cast<double>(c.head_size) * batch.scale;
        double const tolerance = 2 * score_error + 4 * test::epsilon_f32 * static_cast<double>(length + 64);
        Doubles wanted(static_cast<std::size_t>(c.head_size));
        Doubles weights;
        for (std::int64_t row = 0; row < length; row += row % 7 + 1)
            for (std::int64_t head = 0; head < c.heads; ++head) {
                plain.row(row, head, wanted.data());
                std::size_t const index = static_cast<std::size_t>(row * c.heads + head);
                for (std::size_t d = 0; d < wanted.size(); ++d)
                    ASSERT_NEAR(got.out[index * wanted.size() + d], wanted[d], tolerance) << length << " row " << row;
                ASSERT_NEAR(got.log_sum_exp[index], plain.log_sum_exp(row, head, weights),
                            tolerance + 20 * test::epsilon_f32);
            }
    }
}

TEST_P(Attention, BitsOfARowDependOnItsSequenceAlone) {
    for (std::int64_t const length : {63, 64, 65, 511, 512, 513, 1100}) {
        Case const c = GetParam();
        if ((length == 1100 || length == 511) && c.head_size > 64) continue;
        Batch batch(c, {length});
        auto const together = batch.forward();
        // The same rows second in a batch, on other pages.
        Batch other(c, {length, 70}, true);
        std::size_t const own = batch.queries.size();
        std::copy_n(batch.queries.begin(), own, other.queries.begin());
        std::copy_n(batch.keys.begin(), batch.keys.size(), other.keys.begin());
        std::copy_n(batch.values.begin(), batch.values.size(), other.values.begin());
        auto const in_batch = other.forward();
        EXPECT_TRUE(same_bits(in_batch.out.data(), together.out.data(), own)) << length;
        // Prefill of a part, then some rows, then row by row.
        Batch decode(c, {length}, true);
        Floats out(own);
        Floats log_sum_exp(together.log_sum_exp.size());
        std::int64_t const part = length * 2 / 3;
        std::int64_t const query_size = c.heads * c.head_size;
        std::int64_t const key_size = c.kv_heads * c.head_size;
        for (std::int64_t first = 0, rows = part; first < length; first += rows, rows = first < part + 40 ? 8 : 1) {
            rows = std::min(rows, length - first);
            AttentionSegment const segment{0, rows, first, decode.tables[0]};
            store_kv(decode.kv(), TensorView::of(batch.keys.data() + first * key_size, decode.key_shape(rows)),
                     TensorView::of(batch.values.data() + first * key_size, decode.key_shape(rows)), {&segment, 1},
                     decode.stream);
            attention_forward(TensorView::of(out.data() + first * query_size, decode.query_shape(rows)),
                              TensorView::of(log_sum_exp.data() + first * c.heads, {rows, c.heads}),
                              TensorView::of(batch.queries.data() + first * query_size, decode.query_shape(rows)),
                              decode.kv(), {&segment, 1}, batch.scale, decode.stream);
        }
        EXPECT_TRUE(same_bits(out, together.out)) << length;
        EXPECT_TRUE(same_bits(log_sum_exp, together.log_sum_exp)) << length;
    }
}

TEST_P(Attention, BackwardAgreesWithFiniteDifferences) {
    Case const c = GetParam();
    std::int64_t const length = c.head_size > 100 ? 40 : 67;
    Batch batch(c, {length});
    auto const forward = batch.forward();
    Floats const d_out = random_floats(static_cast<std::int64_t>(forward.out.size()), 24);
    Floats dq(batch.queries.size(), -1.0F);
    Floats dk(batch.keys.size(), -1.0F);
    Floats dv(batch.values.size(), -1.0F);
    auto const list = batch.segments();
    attention_backward(view(dq, batch.query_shape(length)), view(dk, batch.key_shape(length)),
                       view(dv, batch.key_shape(length)), view(d_out, batch.query_shape(length)),
                       view(forward.out, batch.query_shape(length)), view(forward.log_sum_exp, {length, c.heads}),
                       view(batch.queries, batch.query_shape(length)), view(batch.keys, batch.key_shape(length)),
                       view(batch.values, batch.key_shape(length)), list, batch.scale, batch.stream);
    Doubles q(batch.queries.begin(), batch.queries.end());
    Doubles k(batch.keys.begin(), batch.keys.end());
    Doubles v(batch.values.begin(), batch.values.end());
    Plain const plain{c, batch.scale, q.data(), k.data(), v.data()};
    auto const loss = [&] {
        double sum = 0;
        Doubles out(static_cast<std::size_t>(c.head_size));
        for (std::int64_t row = 0; row < length; ++row)
            for (std::int64_t head = 0; head < c.heads; ++head) {
                plain.row(row, head, out.data());
                float const* const d = d_out.data() + (row * c.heads + head) * c.head_size;
                sum += std::inner_product(out.begin(), out.end(), d, 0.0);
            }
        return sum;
    };
    double const step = 1e-5;
    auto const check = [&](Doubles& x, Floats const& gradient) {
        for (std::size_t i = 0; i < x.size(); i += x.size() / 11 + 1) {
            double const kept = x[i];
            x[i] = kept + step;
            double const above = loss();
            x[i] = kept - step;
            double const below = loss();
            x[i] = kept;
            // Sums of up to rows * group terms of size 1, each with head_size roundings before it.
            double const terms = static_cast<double>(length * c.heads / c.kv_heads + c.head_size * 4);
            ASSERT_NEAR(gradient[i], (above - below) / (2 * step), 16 * terms * test::epsilon_f32 * 3 + 1e-6) << i;
        }
    };
    check(q, dq);
    check(k, dk);
    check(v, dv);
}

INSTANTIATE_TEST_SUITE_P(Cases, Attention, testing::ValuesIn(cases), [](auto const& info) {
    return std::to_string(info.param.heads) + "_" + std::to_string(info.param.kv_heads) + "_" +
           std::to_string(info.param.head_size);
});

}  // namespace
}  // namespace selvage::kernels

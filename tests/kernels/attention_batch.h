// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batches of sequences for tests of attention, and the same in double.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "kernels/attention.h"
#include "kernels/buffer.h"

namespace selvage::test {

struct AttentionCase {
    std::int64_t heads;
    std::int64_t kv_heads;
    std::int64_t head_size;
    DType dtype = DType::f32;
    int softcap = 0;
    std::int64_t window = 0;

    std::string name() const {
        return std::to_string(heads) + "_" + std::to_string(kv_heads) + "_" + std::to_string(head_size) + "_" +
               std::string(name_of(dtype)) + (softcap == 0 ? "" : "_cap_" + std::to_string(softcap)) +
               (window == 0 ? "" : "_window_" + std::to_string(window));
    }
    // The first key that a row sees.
    std::int64_t first_key(std::int64_t row) const {
        return window == 0 ? 0 : std::max<std::int64_t>(0, row + 1 - window);
    }
};

// A batch of one or more sequences with its pages; everything not written is NaN.
struct AttentionBatch {
    AttentionCase sizes;
    std::vector<std::int64_t> lengths;
    std::int64_t rows;
    Buffer queries, keys, values;
    std::vector<std::vector<std::int32_t>> tables;
    Buffer pages;
    float scale;
    Stream stream{DeviceKind::cpu};

    AttentionBatch(AttentionCase c, std::vector<std::int64_t> sequence_lengths, bool reversed_pages = false)
        : sizes(c),
          lengths(std::move(sequence_lengths)),
          rows(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})),
          queries(c.dtype, random_floats(rows * c.heads * c.head_size, 21, 3)),
          keys(c.dtype, random_floats(rows * c.kv_heads * c.head_size, 22, 3)),
          values(c.dtype, random_floats(rows * c.kv_heads * c.head_size, 23)),
          tables(make_tables(lengths, reversed_pages)),
          pages(c.dtype, page_count() * page_size(), 0xff),
          scale(1 / std::sqrt(static_cast<float>(c.head_size))) {}

    static std::vector<std::vector<std::int32_t>> make_tables(std::vector<std::int64_t> const& lengths, bool reversed) {
        std::vector<std::vector<std::int32_t>> tables;
        std::int32_t count = 0;
        for (std::int64_t const length : lengths) {
            tables.emplace_back(static_cast<std::size_t>((length + 63) / 64));
            for (auto& page : tables.back()) page = count++;
        }
        if (reversed)
            for (auto& table : tables)
                for (auto& page : table) page = count - 1 - page;
        return tables;
    }
    std::int64_t page_count() const {
        std::size_t count = 0;
        for (auto const& table : tables) count += table.size();
        return static_cast<std::int64_t>(count);
    }
    std::int64_t page_size() const { return 2 * sizes.kv_heads * sizes.head_size * 64; }
    kernels::KvPages kv() const { return {pages.view({page_count(), page_size()}), sizes.kv_heads, sizes.head_size}; }
    std::vector<kernels::AttentionSegment> segments() const {
        std::vector<kernels::AttentionSegment> list;
        std::int64_t row = 0;
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            list.push_back({row, lengths[i], 0, tables[i]});
            row += lengths[i];
        }
        return list;
    }
    kernels::AttentionOptions options() const { return {scale, static_cast<float>(sizes.softcap), sizes.window}; }
    Shape query_shape(std::int64_t count) const { return {count, sizes.heads, sizes.head_size}; }
    Shape key_shape(std::int64_t count) const { return {count, sizes.kv_heads, sizes.head_size}; }

    struct Result {
        Buffer out;
        Floats log_sum_exp;
    };
    Result forward() {
        auto const list = segments();
        store_kv(kv(), keys.view(key_shape(rows)), values.view(key_shape(rows)), list, stream);
        Result result{Buffer(sizes.dtype, queries.size(), 0), Floats(static_cast<std::size_t>(rows * sizes.heads))};
        attention_forward(result.out.view(query_shape(rows)), view(result.log_sum_exp, {rows, sizes.heads}),
                          queries.view(query_shape(rows)), kv(), list, options(), stream);
        return result;
    }
    struct Gradients {
        Buffer queries, keys, values;
        bool operator==(Gradients const&) const = default;
    };
    Gradients backward(Result const& result, Buffer const& d_out) {
        Gradients d{Buffer(sizes.dtype, queries.size(), 0xff), Buffer(sizes.dtype, keys.size(), 0xff),
                    Buffer(sizes.dtype, values.size(), 0xff)};
        attention_backward(d.queries.view(query_shape(rows)), d.keys.view(key_shape(rows)),
                           d.values.view(key_shape(rows)), d_out.view(query_shape(rows)),
                           result.out.view(query_shape(rows)), view(result.log_sum_exp, {rows, sizes.heads}),
                           queries.view(query_shape(rows)), keys.view(key_shape(rows)), values.view(key_shape(rows)),
                           segments(), options(), stream);
        return d;
    }
};

using Doubles = std::vector<double>;

// softmax(q K^T scale) V in double, with cap and window of the case, for one sequence starting at row 0.
struct PlainAttention {
    AttentionCase c;
    double scale;
    double const* q;
    double const* k;
    double const* v;
    std::int64_t group() const { return c.heads / c.kv_heads; }
    std::int64_t query_at(std::int64_t row, std::int64_t head) const { return (row * c.heads + head) * c.head_size; }
    std::int64_t key_at(std::int64_t row, std::int64_t head) const {
        return (row * c.kv_heads + head / group()) * c.head_size;
    }
    double product(double const* a, double const* b) const { return std::inner_product(a, a + c.head_size, b, 0.0); }
    double score(double const* query, double const* key) const {
        double const plain = scale * product(query, key);
        return c.softcap == 0 ? plain : c.softcap * std::tanh(plain / c.softcap);
    }
    double log_sum_exp(std::int64_t row, std::int64_t head, Doubles& weights) const {
        weights.assign(static_cast<std::size_t>(row + 1), 0);
        double largest = -1e300;
        for (std::int64_t j = 0; j <= row; ++j) {
            bool const seen = j >= c.first_key(row);
            weights[static_cast<std::size_t>(j)] = seen ? score(k + key_at(j, head), q + query_at(row, head)) : -1e300;
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
            for (std::int64_t j = 0; j <= row; ++j)
                out[d] += weights[static_cast<std::size_t>(j)] * v[key_at(j, head) + d];
        }
    }
};

}  // namespace selvage::test

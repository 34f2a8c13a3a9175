// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sequences of a batch in bf16, one by one, against a plain loop.
#include <cstring>

#include "kernels/attention_gradients.h"

namespace selvage::test {

// Elements first .. first + count - 1.
inline Buffer part(Buffer const& of, std::int64_t first, std::int64_t count) {
    Buffer result(DType::bf16, count, 0);
    result.copy_from(of, count, first);
    return result;
}

// The sequence of a batch that begins at `row`.
inline AttentionBatch sequence_of(AttentionBatch const& batch, std::int64_t row, std::int64_t rows) {
    AttentionBatch one(batch.sizes, {rows});
    std::int64_t const keys = batch.sizes.kv_heads * batch.sizes.head_size;
    one.queries.copy_from(batch.queries, one.queries.size(), row * batch.sizes.heads * batch.sizes.head_size);
    one.keys.copy_from(batch.keys, one.keys.size(), row * keys);
    one.values.copy_from(batch.values, one.values.size(), row * keys);
    return one;
}

// Rows first .. of one sequence. Weights and outputs are rounded to bf16, sums have one rounding for each key.
inline void expect_forward(AttentionBatch const& one, Buffer const& out, Floats const* log_sum_exp, std::int64_t first,
                           std::string const& what) {
    AttentionCase const& c = one.sizes;
    Doubles const q = one.queries.doubles(), k = one.keys.doubles(), v = one.values.doubles();
    PlainAttention const plain{c, one.scale, q.data(), k.data(), v.data()};
    double const f32_error = 2 * score_error(one) + 4 * epsilon_f32 * static_cast<double>(one.rows + 64);
    Doubles wanted(static_cast<std::size_t>(c.head_size)), weights;
    for (std::int64_t row = first; row < one.rows; ++row)
        for (std::int64_t head = 0; head < c.heads; ++head) {
            plain.row(row, head, wanted.data());
            for (std::int64_t d = 0; d < c.head_size; ++d)
                ASSERT_NEAR(out.at(plain.query_at(row - first, head) + d), wanted[static_cast<std::size_t>(d)],
                            f32_error + 2.01 * epsilon_bf16)
                    << what << " row " << row << " head " << head << " dim " << d;
            if (log_sum_exp != nullptr) {
                ASSERT_NEAR((*log_sum_exp)[static_cast<std::size_t>((row - first) * c.heads + head)],
                            plain.log_sum_exp(row, head, weights), f32_error + 20 * epsilon_f32)
                    << what << " row " << row << " head " << head;
            }
        }
}

inline BFloat16* elements(Buffer const& buffer) { return buffer.view({buffer.size()}).as<BFloat16>(); }

// A batch's pages as on a GPU, NaN where nothing is stored.
inline Buffer device_pages(AttentionBatch const& batch) {
    AttentionCase const& c = batch.sizes;
    Buffer const pages(DType::bf16, batch.page_count() * batch.page_size(), 0xff);
    std::int64_t row = 0;
    for (std::size_t s = 0; s < batch.lengths.size(); ++s)
        for (std::int64_t i = 0; i < batch.lengths[s]; ++i, ++row)
            for (std::int64_t head = 0; head < c.kv_heads; ++head)
                for (std::int64_t const which : {0, 1}) {
                    std::int64_t const page = batch.tables[s][static_cast<std::size_t>(i / 64)];
                    std::int64_t const to = (((page * 2 + which) * c.kv_heads + head) * 64 + i % 64) * c.head_size;
                    Buffer const& from = which == 0 ? batch.keys : batch.values;
                    std::memcpy(elements(pages) + to, elements(from) + (row * c.kv_heads + head) * c.head_size,
                                2 * static_cast<std::size_t>(c.head_size));
                }
    return pages;
}

}  // namespace selvage::test

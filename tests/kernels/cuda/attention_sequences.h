// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sequences of a batch in bf16, one by one, against a plain loop.
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

}  // namespace selvage::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Errors that attention may make, and its gradients in double.
#include <string>

#include "kernels/attention_batch.h"

namespace selvage::test {

// Own error of the coarse 2^x that bf16 uses; none for f32.
inline double exp_error(DType dtype) { return dtype == DType::bf16 ? 4e-6 : 0; }

// A score is off by at most head_size roundings of terms up to 9 scale.
inline double score_error(AttentionBatch const& batch) {
    return epsilon_f32 * (static_cast<double>(batch.sizes.head_size) + 2) * 9 *
           static_cast<double>(batch.sizes.head_size) * batch.scale;
}

// Gradients in double from the outputs and sums that the backward pass is given, each with the size of its error.
struct PlainGradients {
    Doubles queries, keys, values;
    Doubles queries_error, keys_error, values_error;

    PlainGradients(AttentionBatch const& batch, AttentionBatch::Result const& forward, Buffer const& d_out_buffer) {
        AttentionCase const c = batch.sizes;
        Doubles const q = batch.queries.doubles(), k = batch.keys.doubles(), v = batch.values.doubles();
        Doubles const d_out = d_out_buffer.doubles(), out = forward.out.doubles();
        PlainAttention const plain{c, batch.scale, q.data(), k.data(), v.data()};
        queries = queries_error = Doubles(q.size());
        keys = keys_error = values = values_error = Doubles(k.size());
        double const f32 = epsilon_f32;
        auto const size = static_cast<std::size_t>(c.head_size);
        // Relative: of a weight and of a sum; of the factors of a product.
        double const weight_error = score_error(batch) + exp_error(c.dtype) + 20 * f32;
        double const sum_error = f32 * static_cast<double>(batch.rows * plain.group() + 64);
        double const factor_error = c.dtype == DType::bf16 ? epsilon_bf16 : f32;
        for (std::int64_t row = 0; row < batch.rows; ++row)
            for (std::int64_t head = 0; head < c.heads; ++head) {
                auto const at = static_cast<std::size_t>(plain.query_at(row, head));
                double mean = 0;
                double mean_error = 0;
                for (std::size_t d = 0; d < size; ++d) {
                    mean += d_out[at + d] * out[at + d];
                    mean_error += static_cast<double>(size) * f32 * std::abs(d_out[at + d] * out[at + d]);
                }
                for (std::int64_t j = c.first_key(row); j <= row; ++j) {
                    auto const to = static_cast<std::size_t>(plain.key_at(j, head));
                    double const score = plain.score(q.data() + at, k.data() + to);
                    // The cap's derivative, and what it is off by with the score.
                    double const share = c.softcap == 0 ? 0 : score / c.softcap;
                    double const slope = 1 - share * share;
                    double const slope_error = c.softcap == 0 ? 0 : 2 * score_error(batch) / c.softcap + 8 * f32;
                    double const p =
                        std::exp(score - forward.log_sum_exp[static_cast<std::size_t>(row * c.heads + head)]);
                    double const dp = plain.product(d_out.data() + at, v.data() + to);
                    double const ds = p * (dp - mean) * slope;
                    double const ds_error = p * (mean_error + static_cast<double>(size * size) * f32) +
                                            std::abs(p * (dp - mean)) * slope_error +
                                            std::abs(ds) * (weight_error + factor_error + sum_error);
                    for (std::size_t d = 0; d < size; ++d) {
                        values[to + d] += p * d_out[at + d];
                        values_error[to + d] += p * std::abs(d_out[at + d]) * (weight_error + factor_error + sum_error);
                        queries[at + d] += batch.scale * ds * k[to + d];
                        queries_error[at + d] += batch.scale * ds_error * std::abs(k[to + d]);
                        keys[to + d] += batch.scale * ds * q[at + d];
                        keys_error[to + d] += batch.scale * ds_error * std::abs(q[at + d]);
                    }
                }
            }
    }

    static void expect_near(Buffer const& got, Doubles const& wanted, Doubles const& error, double rounding,
                            std::string const& what) {
        for (std::size_t i = 0; i < wanted.size(); ++i)
            ASSERT_NEAR(got.at(static_cast<std::int64_t>(i)), wanted[i],
                        1.01 * error[i] + 1.01 * rounding * std::abs(wanted[i]) + 1e-12)
                << what << " " << i;
    }
    void expect_near(AttentionBatch::Gradients const& got, DType dtype) const {
        expect_near(got.queries, queries, queries_error, epsilon_of(dtype), "query");
        expect_near(got.keys, keys, keys_error, epsilon_of(dtype), "key");
        expect_near(got.values, values, values_error, epsilon_of(dtype), "value");
    }
};

inline Buffer d_out_of(AttentionBatch const& batch) {
    return {batch.sizes.dtype, random_floats(batch.queries.size(), 24)};
}

}  // namespace selvage::test

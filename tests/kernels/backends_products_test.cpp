// SPDX-License-Identifier: Apache-2.0
// Matrix products and attention.
#include <memory>

#include "kernels/attention.h"
#include "kernels/backends.h"
#include "kernels/gemm.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::epsilon_of;
using test::Floats;

class BackendsProducts : public test::Backends {
  protected:
    bool is_gpu() const { return std::string(GetParam()) == "cuda"; }
};

TEST_P(BackendsProducts, F32ToTheBit) {
    for (std::int64_t const m : {1, 3, 33}) {
        std::int64_t const n = 70, k = 1100;
        auto const in = random({m, k}, 1), weight = random({n, k}, 2), bias = random({n}, 3);
        auto const out = random({m, n}, 4), d_in = random({m, k}, 5), d_weight = random({n, k}, 6),
                   d_bias = random({n}, 7), d_out = random({m, n}, 8);
        run([&](auto side, Stream& stream) {
            linear_forward(side(out), side(in), side(weight), side(bias), stream);
            linear_backward_input(side(d_in), side(d_out), side(weight), Accumulate::add, stream);
            linear_backward_weight(side(d_weight), side(d_bias), side(d_out), side(in), Accumulate::add, stream);
        });
        for (auto const* const tensor : {&out, &d_in, &d_weight}) tensor->expect_same();
        // By chunks of rows there.
        d_bias.expect_near(2 * static_cast<double>(m) * epsilon_f32, 2 * epsilon_f32);
    }
}

// Elements of operands are below 1: a sum over n of them is off by n roundings of n at most, by either way.
double of_sum(std::int64_t n) { return 2 * static_cast<double>(n * n) * epsilon_f32; }

TEST_P(BackendsProducts, Bf16) {
    for (std::int64_t const m : {1, 8, 100}) {
        std::int64_t const n = 136, k = 264;
        auto const in = random<BFloat16>({m, k}, 1), d_out = random<BFloat16>({m, n}, 8);
        auto const weight = random({n, k}, 2), bias = random({n}, 3);
        auto const wide = random({m, n}, 4), d_in = random({m, k}, 5), d_weight = random({n, k}, 6),
                   d_bias = random({n}, 7);
        auto const narrow = random<BFloat16>({m, n}, 4);
        run([&](auto side, Stream& stream) {
            PackedWeight const packed(arena_of(stream), side(weight), DType::bf16, PackedWeight::Use::training);
            linear_forward(side(wide), side(in), packed, side(bias), stream);
            linear_forward(side(narrow), side(in), packed, TensorView{}, stream);
            linear_backward_input(side(d_in), side(d_out), packed, Accumulate::add, stream);
            linear_backward_weight(side(d_weight), side(d_bias), side(d_out), side(in), Accumulate::overwrite, stream);
            stream.synchronize();
        });
        wide.expect_near(of_sum(k), 0);
        narrow.expect_near(of_sum(k), 2 * epsilon_of<BFloat16>);
        d_in.expect_near(of_sum(n), 0);
        d_weight.expect_near(of_sum(m), 0);
        d_bias.expect_near(of_sum(m), 0);
    }
}

// What batch invariance is: the bits of a row do not depend on how many there are, or on which of them it is.
TEST_P(BackendsProducts, RowsDoNotDependOnTheNumberOfRows) {
    std::int64_t const most = is_gpu() ? 3000 : 70, n = 136, k = 264;
    auto const in = random<BFloat16>({most, k}, 1), d_out = random<BFloat16>({most, n}, 2);
    auto const weight = random({n, k}, 3), d_all = random({most, k}, 4), d_some = random({most, k}, 4);
    auto const all = random<BFloat16>({most, n}, 5), some = random<BFloat16>({most, n}, 6);
    PackedWeight const packed(*arena_, weight.there(), DType::bf16, PackedWeight::Use::training);
    linear_forward(all.there(), in.there(), packed, TensorView{}, *stream_);
    linear_backward_input(d_all.there(), d_out.there(), packed, Accumulate::overwrite, *stream_);
    std::int64_t first = 0;
    for (std::int64_t count = 1; first < most; count = 2 * count + 1) {
        std::int64_t const end = std::min(most, first + count);
        auto const part = [&](auto const& tensor) { return tensor.there().rows(first, end); };
        linear_forward(part(some), part(in), packed, TensorView{}, *stream_);
        linear_backward_input(part(d_some), part(d_out), packed, Accumulate::overwrite, *stream_);
        first = end;
    }
    auto const a = all.values_there(), b = some.values_there();
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i].bits, b[i].bits) << i;
    EXPECT_EQ(d_all.values_there(), d_some.values_there());
}

struct Heads {
    std::int64_t heads, kv_heads, head_size;
};

template <class E>
class AttentionOf {
  public:
    AttentionOf(std::vector<std::int64_t> const& lengths, Heads heads) : heads_(heads) {
        std::int32_t pages = 0;
        for (std::int64_t const length : lengths) {
            tables_.emplace_back();
            for (std::int64_t at = 0; at < length; at += kv_page_tokens) tables_.back().push_back(pages++);
        }
        pages_ = pages;
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            segments_.push_back({rows_, lengths[i], 0, tables_[i]});
            rows_ += lengths[i];
        }
    }
    Shape queries() const { return {rows_, heads_.heads, heads_.head_size}; }
    Shape keys() const { return {rows_, heads_.kv_heads, heads_.head_size}; }
    Shape pages() const { return {pages_, 2 * heads_.kv_heads * heads_.head_size * kv_page_tokens}; }
    Shape sums() const { return {rows_, heads_.heads}; }
    std::vector<AttentionSegment> const& segments() const { return segments_; }
    // The last `count` rows of each sequence, as rows 0 .. of a batch.
    std::vector<AttentionSegment> last(std::int64_t count) const {
        std::vector<AttentionSegment> last;
        for (AttentionSegment const& whole : segments_) {
            std::int64_t const rows = std::min(count, whole.rows);
            last.push_back({last.empty() ? 0 : last.back().first_row + last.back().rows, rows, whole.rows - rows,
                            whole.page_table});
        }
        return last;
    }
    // Scores of operands below 1 are sums over the head's size times the scale; both sides, each twice (in the maximum
    // and in the exponent).
    double score_error() const {
        auto const size = static_cast<double>(heads_.head_size);
        return 4 * size * size * scale() * epsilon_f32;
    }
    float scale() const { return 1 / std::sqrt(static_cast<float>(heads_.head_size)); }

  private:
    Heads heads_;
    std::int64_t rows_ = 0, pages_ = 0;
    std::vector<std::vector<std::int32_t>> tables_;
    std::vector<AttentionSegment> segments_;
};

TEST_P(BackendsProducts, Attention) {
    auto const check = [&]<class E>(Heads heads) {
        std::vector<std::int64_t> lengths = {1, 70, 64, 130};
        if (is_gpu()) lengths.insert(lengths.end(), {513, 2000});
        AttentionOf<E> const batch(lengths, heads);
        auto const query = random<E>(batch.queries(), 1), out = random<E>(batch.queries(), 2);
        auto const key = random<E>(batch.keys(), 3), value = random<E>(batch.keys(), 4);
        auto const d_out = random<E>(batch.queries(), 5), d_query = random<E>(batch.queries(), 6);
        auto const d_key = random<E>(batch.keys(), 7), d_value = random<E>(batch.keys(), 8);
        auto const sums = random(batch.sums(), 9);
        auto const decoded = random<E>(batch.queries(), 10);  // its first rows
        auto const pages = random<E>(batch.pages(), 11);      // some of them stay as they are
        auto const last = batch.last(3);
        std::int64_t const decoded_rows = last.back().first_row + last.back().rows;
        run([&](auto side, Stream& stream) {
            KvPages const kv{side(pages), heads.kv_heads, heads.head_size};
            store_kv(kv, side(key), side(value), batch.segments(), stream);
            attention_forward(side(out), side(sums), side(query), kv, batch.segments(), batch.scale(), stream);
            attention_backward(side(d_query), side(d_key), side(d_value), side(d_out), side(out), side(sums),
                               side(query), side(key), side(value), batch.segments(), batch.scale(), stream);
            attention_forward(side(decoded).rows(0, decoded_rows), TensorView{}, side(query).rows(0, decoded_rows), kv,
                              last, batch.scale(), stream);
        });
        double const rounding = sizeof(E) == 2 ? epsilon_of<E> : 0;
        double const of_weights = batch.score_error() + 4 * 2100 * epsilon_f32;
        // Weights and outputs are rounded on both sides; values are below 1.
        out.expect_near(of_weights + 4 * rounding, 0);
        decoded.expect_near(of_weights + 4 * rounding, 0);
        sums.expect_near(batch.score_error() + 40 * epsilon_f32, 0);
        // Four roundings on each side on the way to a gradient: of weights, outputs, their gradients, the result.
        for (auto const* const gradient : {&d_query, &d_key, &d_value})
            gradient->expect_norm_near(10 * of_weights + 8 * rounding);
    };
    check.template operator()<float>({2, 1, 16});
    check.template operator()<BFloat16>({4, 2, 64});
    check.template operator()<BFloat16>({2, 2, 128});
    if (is_gpu()) check.template operator()<BFloat16>({32, 8, 128});
}

INSTANTIATE_TEST_SUITE_P(Devices, BackendsProducts, test::backends(), test::name_of_backend);

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
// The order of attention's sums in bf16, bit for bit: scalar loops that follow the definition in kernels/README.md and
// share nothing with the kernels but log.
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "kernels/attention_batch.h"
#include "kernels/cpu/table.h"

namespace selvage::kernels {
namespace {

using test::AttentionBatch;
using test::AttentionCase;
using test::Buffer;
using test::Floats;
using test::random_floats;
using test::to_bf16;
using test::to_float;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float log2_e = 1.44269504088896341F;
constexpr std::int64_t block = 64;
constexpr std::int64_t split = 512;

float rounded(float x) { return to_float(to_bf16(x)); }

bool with_tiles() { return std::string_view(kernel_table().name) == "amx"; }

// sum + a b over elements 0 .. count - 1. Tile registers take chunks of 32 elements; in a chunk the even and the odd
// ones are a chain each from zero, and their sum is added. Otherwise pairs follow one another, the odd element first.
template <class A, class B>
float chain(float sum, std::int64_t count, A const& a, B const& b) {
    auto const at = [count](auto const& x, std::int64_t i) { return i < count ? x(i) : 0.0F; };
    for (std::int64_t first = 0; first < count; first += 32) {
        float even = 0;
        float odd = 0;
        for (std::int64_t i = first; i < first + 32; i += 2) {
            if (with_tiles()) {
                even = std::fma(at(a, i), at(b, i), even);
                odd = std::fma(at(a, i + 1), at(b, i + 1), odd);
            } else {
                sum = std::fma(at(a, i + 1), at(b, i + 1), sum);
                sum = std::fma(at(a, i), at(b, i), sum);
            }
        }
        if (with_tiles()) sum += even + odd;
    }
    return sum;
}

float power_of_two(float x) {
    if (x < -126) return 0;
    float const n = std::nearbyint(x);
    float const r = x - n;
    float p = 9.7829125629e-3F;
    for (float const c : {5.5976883632e-2F, 2.4020711079e-1F, 6.9311360440e-1F, 1.0F}) p = std::fma(p, r, c);
    return std::ldexp(p, static_cast<int>(n));
}

float log_of(float x) {
    float y = 0;
    kernel_table().row_log(&y, &x, 1);
    return y;
}

// Lane i with i + 8, + 4, + 2, + 1.
float tree(std::array<float, 16> lanes) {
    for (std::size_t step = 8; step > 0; step /= 2)
        for (std::size_t i = 0; i < step; ++i) lanes[i] += lanes[i + step];
    return lanes[0];
}

// Element d of rows of one head.
struct Rows {
    Buffer const& buffer;
    std::int64_t heads;
    std::int64_t size;
    std::int64_t head;
    float operator()(std::int64_t row, std::int64_t d) const { return buffer.at((row * heads + head) * size + d); }
};

// One head and its keys.
struct Head {
    Rows queries, keys, values;
    std::int64_t size;
    float scale;

    Head(AttentionBatch const& batch, std::int64_t head)
        : queries{batch.queries, batch.sizes.heads, batch.sizes.head_size, head},
          keys{batch.keys, batch.sizes.kv_heads, batch.sizes.head_size,
               head / (batch.sizes.heads / batch.sizes.kv_heads)},
          values{batch.values, keys.heads, keys.size, keys.head},
          size(batch.sizes.head_size),
          scale(batch.scale) {}

    float product(Rows const& a, std::int64_t row, Rows const& b, std::int64_t key) const {
        return chain(
            0, size, [&](std::int64_t d) { return a(row, d); }, [&](std::int64_t d) { return b(key, d); });
    }
};

// Largest score, sum of weights and weighted values of some keys, in powers of two.
struct State {
    explicit State(std::int64_t size) : value(static_cast<std::size_t>(size)) {}
    float max = -infinity;
    float sum = 0;
    Floats value;

    void take_page(Head const& head, std::int64_t row, std::int64_t first_key) {
        float const scale = head.scale * log2_e;
        std::int64_t const count = std::min(block, row + 1 - first_key);
        Floats weights(static_cast<std::size_t>(count));
        for (std::int64_t key = 0; key < count; ++key)
            weights[static_cast<std::size_t>(key)] = head.product(head.queries, row, head.keys, first_key + key);
        float const new_max = std::max(max, *std::max_element(weights.begin(), weights.end()) * scale);
        float const shrink = power_of_two(max - new_max);
        std::array<float, 16> lanes{};
        for (std::size_t key = 0; key < weights.size(); ++key) {
            weights[key] = power_of_two(std::fma(weights[key], scale, -new_max));
            lanes[key % 16] += weights[key];
        }
        sum = std::fma(sum, shrink, tree(lanes));
        max = new_max;
        for (std::int64_t d = 0; d < head.size; ++d) {
            float const product = chain(
                0, count, [&](std::int64_t key) { return rounded(weights[static_cast<std::size_t>(key)]); },
                [&](std::int64_t key) { return head.values(first_key + key, d); });
            float& total = value[static_cast<std::size_t>(d)];
            total = std::fma(total, shrink, product);
        }
    }

    void merge(State const& other) {
        float const new_max = std::max(max, other.max);
        float const shrink = power_of_two(max - new_max);
        float const shrink_other = power_of_two(other.max - new_max);
        sum = std::fma(sum, shrink, other.sum * shrink_other);
        max = new_max;
        for (std::size_t d = 0; d < value.size(); ++d)
            value[d] = std::fma(value[d], shrink, other.value[d] * shrink_other);
    }
};

State defined_row(Head const& head, std::int64_t row) {
    State total(head.size);
    for (std::int64_t first = 0; first <= row; first += split) {
        State part(head.size);
        for (std::int64_t key = first; key < first + split && key <= row; key += block) part.take_page(head, row, key);
        total.merge(part);
    }
    return total;
}

class AttentionOrderBf16 : public testing::TestWithParam<std::int64_t> {};

TEST_P(AttentionOrderBf16, RowsFollowTheDefinition) {
    std::int64_t const size = GetParam();
    AttentionBatch batch({1, 1, size, DType::bf16}, {1100}, true);
    auto const got = batch.forward();
    Head const head(batch, 0);
    for (std::int64_t const row : {0,   1,   15,  16,  62,  63,  64,   65,   127,  128,  300, 510,
                                   511, 512, 513, 575, 576, 577, 1022, 1023, 1024, 1025, 1099}) {
        State const wanted = defined_row(head, row);
        for (std::int64_t d = 0; d < size; ++d)
            ASSERT_EQ(got.out.at(row * size + d), rounded(wanted.value[static_cast<std::size_t>(d)] / wanted.sum))
                << "row " << row << ", dim " << d;
        ASSERT_EQ(got.log_sum_exp[static_cast<std::size_t>(row)],
                  std::fma(wanted.max, 0.693147180559945309F, log_of(wanted.sum)))
            << "row " << row;
    }
}

// Weights of all heads of one group and their gradients, [head][row][key], zeros where a key is not seen.
struct Weights {
    std::int64_t rows;
    Floats weight, d_score;
    std::size_t at(std::int64_t head, std::int64_t row, std::int64_t key) const {
        return static_cast<std::size_t>((head * rows + row) * rows + key);
    }

    Weights(AttentionBatch const& batch, AttentionBatch::Result const& forward, Buffer const& d_out)
        : rows(batch.rows), weight(static_cast<std::size_t>(batch.sizes.heads * rows * rows)), d_score(weight.size()) {
        for (std::int64_t h = 0; h < batch.sizes.heads; ++h) {
            Head const head(batch, h);
            Rows const gradient{d_out, batch.sizes.heads, head.size, h};
            Rows const out{forward.out, batch.sizes.heads, head.size, h};
            for (std::int64_t row = 0; row < rows; ++row) {
                std::array<float, 16> lanes{};
                for (std::int64_t d = 0; d < head.size; ++d) {
                    float& lane = lanes[static_cast<std::size_t>(d % 16)];
                    lane = std::fma(gradient(row, d), out(row, d), lane);
                }
                float const sum = forward.log_sum_exp[static_cast<std::size_t>(row * batch.sizes.heads + h)] * log2_e;
                for (std::int64_t key = 0; key <= row; ++key) {
                    float const score = head.product(head.queries, row, head.keys, key);
                    float const p = power_of_two(std::fma(score, head.scale * log2_e, -sum));
                    weight[at(h, row, key)] = rounded(p);
                    d_score[at(h, row, key)] =
                        rounded(p * (head.product(gradient, row, head.values, key) - tree(lanes)));
                }
            }
        }
    }
};

TEST_P(AttentionOrderBf16, GradientsFollowTheDefinition) {
    std::int64_t const size = GetParam();
    std::int64_t const rows = 150;
    AttentionBatch batch({2, 1, size, DType::bf16}, {rows});
    auto const forward = batch.forward();
    Buffer const d_out(DType::bf16, random_floats(batch.queries.size(), 24));
    auto const got = batch.backward(forward, d_out);
    Weights const weights(batch, forward, d_out);
    for (std::int64_t i = 0; i < rows; i += i % 5 + 1)
        for (std::int64_t d = 0; d < size; ++d) {
            float d_key = 0;
            float d_value = 0;
            for (std::int64_t h = 0; h < 2; ++h) {
                Head const head(batch, h);
                Rows const gradient{d_out, 2, size, h};
                auto const d_score = [&](std::int64_t row) { return weights.d_score[weights.at(h, row, i)]; };
                auto const weight = [&](std::int64_t row) { return weights.weight[weights.at(h, row, i)]; };
                d_key = chain(d_key, rows, d_score, [&](std::int64_t row) { return head.queries(row, d); });
                d_value = chain(d_value, rows, weight, [&](std::int64_t row) { return gradient(row, d); });
                float const d_query = chain(
                    0, rows, [&](std::int64_t key) { return weights.d_score[weights.at(h, i, key)]; },
                    [&](std::int64_t key) { return head.keys(key, d); });
                ASSERT_EQ(got.queries.at((i * 2 + h) * size + d), rounded(d_query * batch.scale)) << i << " " << d;
            }
            ASSERT_EQ(got.keys.at(i * size + d), rounded(d_key * batch.scale)) << i << " " << d;
            ASSERT_EQ(got.values.at(i * size + d), rounded(d_value)) << i << " " << d;
        }
}

INSTANTIATE_TEST_SUITE_P(HeadSizes, AttentionOrderBf16, testing::Values(6, 48, 64, 80, 128));

}  // namespace
}  // namespace selvage::kernels

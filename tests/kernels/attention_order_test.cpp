// SPDX-License-Identifier: Apache-2.0
// The order of attention's sums, bit for bit: a scalar loop that follows the definition in kernels/README.md and shares
// nothing with the kernels but exp and log.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/cpu/table.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::Floats;
using test::random_floats;
using test::view;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t block = 64;
constexpr std::int64_t split = 512;

float exp_of(float x) {
    float y = 0;
    kernel_table().row_exp(&y, &x, 1);
    return y;
}

float log_of(float x) {
    float y = 0;
    kernel_table().row_log(&y, &x, 1);
    return y;
}

// 16 partial sums, then i with i + 8, + 4, + 2, + 1.
float sum_of(std::array<float, block> const& weights) {
    std::array<float, 16> lanes{};
    for (std::size_t i = 0; i < weights.size(); ++i) lanes[i % 16] += weights[i];
    for (std::size_t step = 8; step > 0; step /= 2)
        for (std::size_t i = 0; i < step; ++i) lanes[i] += lanes[i + step];
    return lanes[0];
}

// One sequence of one head.
struct Sequence {
    std::int64_t size;
    float scale;
    Floats queries, keys, values;  // [length, size]

    float score(std::int64_t row, std::int64_t key) const {
        if (key > row) return -infinity;
        float sum = 0;
        for (std::int64_t d = 0; d < size; ++d)
            sum = std::fma(queries[static_cast<std::size_t>(row * size + d)],
                           keys[static_cast<std::size_t>(key * size + d)], sum);
        return sum * scale;
    }
};

// Largest score, sum of weights and weighted values of some keys.
struct State {
    explicit State(std::int64_t size) : value(static_cast<std::size_t>(size)) {}
    float max = -infinity;
    float sum = 0;
    Floats value;

    void take_block(Sequence const& sequence, std::int64_t row, std::int64_t first_key) {
        std::array<float, block> weights{};
        for (std::int64_t key = 0; key < block; ++key)
            weights[static_cast<std::size_t>(key)] = sequence.score(row, first_key + key);
        float const new_max = std::max(max, *std::max_element(weights.begin(), weights.end()));
        for (float& weight : weights) weight = exp_of(weight - new_max);
        float const shrink = exp_of(max - new_max);
        sum = std::fma(sum, shrink, sum_of(weights));
        max = new_max;
        for (std::int64_t d = 0; d < sequence.size; ++d) {
            float& total = value[static_cast<std::size_t>(d)];
            total *= shrink;
            for (std::int64_t key = first_key; key < first_key + block && key <= row; ++key)
                total = std::fma(weights[static_cast<std::size_t>(key - first_key)],
                                 sequence.values[static_cast<std::size_t>(key * sequence.size + d)], total);
        }
    }

    void merge(State const& other) {
        float const new_max = std::max(max, other.max);
        float const shrink = exp_of(max - new_max);
        float const shrink_other = exp_of(other.max - new_max);
        sum = std::fma(sum, shrink, other.sum * shrink_other);
        max = new_max;
        for (std::size_t d = 0; d < value.size(); ++d)
            value[d] = std::fma(value[d], shrink, other.value[d] * shrink_other);
    }
};

State defined_row(Sequence const& sequence, std::int64_t row) {
    State total(sequence.size);
    for (std::int64_t first = 0; first <= row; first += split) {
        State part(sequence.size);
        for (std::int64_t key = first; key < first + split && key <= row; key += block)
            part.take_block(sequence, row, key);
        total.merge(part);
    }
    return total;
}

class AttentionOrder : public testing::TestWithParam<std::int64_t> {};

TEST_P(AttentionOrder, RowsFollowTheDefinition) {
    std::int64_t const size = GetParam();
    std::int64_t const length = 1100;
    // Scores of many sizes, so that the largest one moves and rescaling shows in the bits.
    Sequence const sequence{size, 1 / std::sqrt(static_cast<float>(size)), random_floats(length * size, 31, 3),
                            random_floats(length * size, 32, 3), random_floats(length * size, 33)};
    std::int64_t const page_size = 2 * size * block;
    std::vector<std::int32_t> table((length + block - 1) / block);
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::int32_t>(table.size() - 1 - i);
    Floats pages(table.size() * static_cast<std::size_t>(page_size), std::numeric_limits<float>::quiet_NaN());
    KvPages const kv{view(pages, {static_cast<std::int64_t>(table.size()), page_size}), 1, size};
    AttentionSegment const segment{0, length, 0, table};
    Shape const shape{length, 1, size};
    Stream stream{DeviceKind::cpu};
    store_kv(kv, view(sequence.keys, shape), view(sequence.values, shape), {&segment, 1}, stream);
    Floats out(sequence.queries.size());
    Floats log_sum_exp(static_cast<std::size_t>(length));
    attention_forward(view(out, shape), view(log_sum_exp, {length, 1}), view(sequence.queries, shape), kv,
                      {&segment, 1}, sequence.scale, stream);

    for (std::int64_t const row : {0,   1,   15,  16,  62,  63,  64,   65,   127,  128,  300, 510,
                                   511, 512, 513, 575, 576, 577, 1022, 1023, 1024, 1025, 1099}) {
        State const wanted = defined_row(sequence, row);
        for (std::int64_t d = 0; d < size; ++d)
            ASSERT_EQ(out[static_cast<std::size_t>(row * size + d)],
                      wanted.value[static_cast<std::size_t>(d)] / wanted.sum)
                << "row " << row << ", dim " << d;
        ASSERT_EQ(log_sum_exp[static_cast<std::size_t>(row)], wanted.max + log_of(wanted.sum)) << "row " << row;
    }
}

INSTANTIATE_TEST_SUITE_P(HeadSizes, AttentionOrder, testing::Values(6, 48, 64, 80, 128));

}  // namespace
}  // namespace selvage::kernels

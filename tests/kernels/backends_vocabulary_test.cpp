// SPDX-License-Identifier: Apache-2.0
// What a rank computes on its part of the vocabulary.
#include <algorithm>

#include "kernels/activation.h"
#include "kernels/backends.h"
#include "kernels/vocabulary_shard.h"

namespace selvage::kernels {
namespace {

using test::epsilon_f32;
using test::Floats;
using test::Ids;

constexpr std::int64_t rows = 5, columns = 2900, ids = 2890, first_id = 3072;

class BackendsVocabulary : public test::Backends {
  protected:
    // work(side, stream) gives small results on the host; those of the CPU, then the device's.
    template <class Result, class Work>
    std::vector<std::vector<Result>> results(std::size_t count, Work const& work) {
        std::vector<std::vector<Result>> both;
        run([&](auto side, Stream& stream) {
            both.emplace_back(count);
            work(side, std::span(both.back()), stream);
        });
        return both;
    }
};

TEST_P(BackendsVocabulary, TrainingOnAShard) {
    auto const logits = random({rows, columns}, 1, 9), gradient = random({rows, columns}, 2);
    auto const total = random({rows}, 3), weight = random({rows}, 4), matrix = random({rows, columns}, 5),
               row = random({columns}, 6);
    auto const targets = twice(Ids{3072, 5971, 3071, 5972, 4000}, {rows});
    std::size_t const blocks = rows * static_cast<std::size_t>(vocabulary_blocks(columns));
    Floats largest(rows);
    auto const sums = results<BlockSum>(blocks, [&](auto side, std::span<BlockSum> out, Stream& stream) {
        block_sums(out, largest, side(logits), ids, stream);
        merge_block_sums(side(total), out, stream);
        add_to_rows(side(matrix), side(row), stream);
        shard_cross_entropy_backward(side(gradient), side(logits), side(total), side(targets), side(weight), first_id,
                                     stream);
    });
    for (std::size_t i = 0; i < blocks; ++i) {
        EXPECT_EQ(sums[0][i].max, sums[1][i].max);
        EXPECT_NEAR(sums[0][i].sum, sums[1][i].sum, 100 * epsilon_f32 * sums[0][i].sum);
    }
    total.expect_near(0, 10 * epsilon_f32);
    matrix.expect_same();
    gradient.expect_near(1e-12, 200 * epsilon_f32);
    auto const of_targets = results<float>(rows, [&](auto side, std::span<float> out, Stream& stream) {
        shard_target_log_probability(out, side(logits), side(total), side(targets), first_id, stream);
    });
    for (std::size_t i = 0; i < rows; ++i) EXPECT_NEAR(of_targets[0][i], of_targets[1][i], 300 * epsilon_f32);
    auto const best = results<LargestLogit>(rows, [&](auto side, std::span<LargestLogit> out, Stream& stream) {
        shard_argmax(out, side(logits), ids, stream);
    });
    for (std::size_t i = 0; i < rows; ++i) {
        EXPECT_EQ(best[0][i].column, best[1][i].column);
        EXPECT_EQ(best[0][i].logit, best[1][i].logit);
    }
}

// Weights differ in their last bits, which are those of exp; what is done with given weights is exact.
TEST_P(BackendsVocabulary, SamplingOnAShard) {
    auto const logits = random({rows, columns}, 1, 9);
    std::int64_t const stride = weights_stride(ids);
    std::vector<ShardRow> const drawn = {{4, 9, 1, 40}, {0, 9, 0.7F, 0}};
    auto const count = static_cast<std::int64_t>(drawn.size());
    auto const weights = twice(Floats(static_cast<std::size_t>(count * stride), -1), {count, stride});
    std::size_t const blocks = drawn.size() * static_cast<std::size_t>(vocabulary_blocks(ids));
    Floats bounds(drawn.size());
    auto const totals = results<std::int64_t>(blocks, [&](auto side, std::span<std::int64_t> out, Stream& stream) {
        shard_weights(out, bounds, side(weights), side(logits), ids, drawn, stream);
    });
    weights.expect_near(1, 64 * epsilon_f32);
    for (std::size_t i = 0; i < blocks; ++i) {
        auto const total = static_cast<double>(totals[0][i]);
        EXPECT_NEAR(static_cast<double>(totals[1][i]), total, 1024 + 64 * epsilon_f32 * total);
    }
    Floats whole;
    for (std::int64_t i = 0; i < count * stride; ++i)
        whole.push_back(i % stride < ids ? static_cast<float>(1 + i * 7919 % 100003) : 0.0F);
    auto const given = twice(whole, {count, stride});
    std::vector<WeightRange> ranges = {{0, 99000, 100000, 0}, {1, 99500, 1e9F, 0}};
    auto const in_range = [&](WeightRange const& range) {
        auto const first = whole.begin() + range.row * stride;
        return std::count_if(first, first + ids, [&](float w) { return range.low <= w && w < range.high; });
    };
    ranges[1].first = in_range(ranges[0]);
    auto const listed = static_cast<std::size_t>(ranges[1].first + in_range(ranges[1]));
    auto const measures = results<Measure>(ranges.size(), [&](auto side, std::span<Measure> out, Stream& stream) {
        measure_weights(out, side(given), ids, ranges, stream);
    });
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        EXPECT_GT(measures[0][i].count, 0);
        EXPECT_EQ(measures[0][i].count, measures[1][i].count);
        EXPECT_EQ(measures[0][i].sum, measures[1][i].sum);
    }
    auto const candidates = results<Candidate>(listed, [&](auto side, std::span<Candidate> out, Stream& stream) {
        candidates_between(out, side(given), ids, ranges, stream);
    });
    EXPECT_GT(candidates[0][0].weight, 0);
    for (std::size_t i = 0; i < listed; ++i) {
        EXPECT_EQ(candidates[0][i].id, candidates[1][i].id);
        EXPECT_EQ(candidates[0][i].weight, candidates[1][i].weight);
    }
    std::vector<RowCut> const cuts = {{0, {{50000, 7}}}, {1, {}}};
    auto const kept = results<std::int64_t>(blocks, [&](auto side, std::span<std::int64_t> out, Stream& stream) {
        kept_totals(out, side(given), ids, cuts, stream);
    });
    EXPECT_GT(kept[0][0], 0);
    EXPECT_EQ(kept[0], kept[1]);
    // Targets in the middle of a block's weight: a token more or less would take a weight that is a part in 10^6.
    std::vector<BlockDraw> draws;
    for (std::size_t i = 0; i < blocks; ++i)
        draws.push_back({drawn[i / (blocks / drawn.size())],
                         {},
                         static_cast<std::int64_t>(i % (blocks / drawn.size())),
                         totals[0][i] / 3});
    auto const tokens = results<Candidate>(draws.size(), [&](auto side, std::span<Candidate> out, Stream& stream) {
        draw_in_blocks(out, side(logits), ids, draws, stream);
    });
    for (std::size_t i = 0; i < draws.size(); ++i) EXPECT_EQ(tokens[0][i].id, tokens[1][i].id);
}

INSTANTIATE_TEST_SUITE_P(Devices, BackendsVocabulary, test::backends(), test::name_of_backend);

}  // namespace
}  // namespace selvage::kernels

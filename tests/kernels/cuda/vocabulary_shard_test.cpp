// SPDX-License-Identifier: Apache-2.0
#include "kernels/vocabulary_shard.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/emulated.h"
#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::emulated;
using test::emulated_stream;
using test::Floats;
using test::random_floats;
using test::same_bits;
using test::view;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t rows = 3;
constexpr std::int64_t split = 1024;  // the first shard's ids; the second one has the others
constexpr std::int64_t vocabulary = test::tiny ? 1324 : 2077;

constexpr auto index(std::int64_t i) { return static_cast<std::size_t>(i); }

Floats logits_of_all() { return random_floats(rows * vocabulary, 1, 9); }
// The columns of a shard.
Floats part(Floats const& all, std::int64_t first, std::int64_t end) {
    Floats columns;
    for (std::int64_t row = 0; row < rows; ++row)
        columns.insert(columns.end(), all.begin() + row * vocabulary + first, all.begin() + row * vocabulary + end);
    return columns;
}
struct Shard {
    std::int64_t first, end;
    std::int64_t columns() const { return end - first; }
    Floats logits = part(logits_of_all(), first, end);
    TensorView view() const { return test::view(logits, {rows, columns()}); }
};
std::vector<Shard> shards() { return {{0, split}, {split, vocabulary}}; }

TEST(EmulatedVocabularyShard, SumsOfBlocksMergeToTheWhole) {
    Floats const all = logits_of_all();
    Floats wanted(rows), got(rows);
    emulated().log_sum_exp(view(wanted, {rows}), view(all, {rows, vocabulary}), emulated_stream());
    std::int64_t const blocks = vocabulary_blocks(vocabulary);
    std::vector<BlockSum> merged(index(rows * blocks));
    for (Shard const& shard : shards())
        for (std::int64_t const ids : {std::int64_t{0}, std::int64_t{7}, shard.columns()}) {
            std::int64_t const own = vocabulary_blocks(shard.columns());
            std::vector<BlockSum> sums(index(rows * own));
            Floats largest(rows, NAN);
            emulated().block_sums(sums, largest, shard.view(), ids, emulated_stream());
            for (std::int64_t row = 0; row < rows; ++row) {
                float const* const x = shard.logits.data() + row * shard.columns();
                EXPECT_EQ(largest[index(row)], ids == 0 ? -infinity : *std::max_element(x, x + ids));
                std::copy_n(sums.begin() + row * own, own,
                            merged.begin() + row * blocks + shard.first / vocabulary_block);
            }
        }
    emulated().merge_block_sums(view(got, {rows}), merged, emulated_stream());
    EXPECT_TRUE(same_bits(got, wanted));
}

TEST(EmulatedVocabularyShard, LargestLogit) {
    Shard shard = shards()[1];
    for (float& x : shard.logits) x = std::floor(x);  // many are equal
    std::fill_n(shard.logits.begin(), shard.columns(), NAN);
    for (std::int64_t const ids : {std::int64_t{0}, std::int64_t{5}, shard.columns()}) {
        std::vector<LargestLogit> got(rows);
        emulated().shard_argmax(got, shard.view(), ids, emulated_stream());
        for (std::int64_t row = 0; row < rows; ++row) {
            float const* const x = shard.logits.data() + row * shard.columns();
            bool const none = ids == 0 || row == 0;
            auto const wanted = none ? -1 : std::max_element(x, x + ids) - x;
            EXPECT_EQ(got[index(row)].column, wanted);
            EXPECT_EQ(got[index(row)].logit, none ? -infinity : x[wanted]);
        }
    }
}

TEST(EmulatedVocabularyShard, TargetsAndGradient) {
    Floats const all = logits_of_all(), weight = {1, 0.5F, 0}, sums(rows, 20.0F);
    std::vector<std::int32_t> const targets = {3, split + 2, 1};
    Floats whole(all.size());
    emulated().cross_entropy_backward(view(whole, {rows, vocabulary}), view(all, {rows, vocabulary}),
                                      view(sums, {rows}), view(targets), view(weight, {rows}), emulated_stream());
    for (Shard const& shard : shards()) {
        Floats log_probability(rows, NAN), gradient(shard.logits.size());
        emulated().shard_target_log_probability(log_probability, shard.view(), view(sums, {rows}), view(targets),
                                                shard.first, emulated_stream());
        for (std::size_t row = 0; row < rows; ++row) {
            bool const here = shard.first <= targets[row] && targets[row] < shard.end;
            float const logit = all[row * index(vocabulary) + index(targets[row])];
            EXPECT_EQ(log_probability[row], here ? logit - 20.0F : 0.0F);
        }
        emulated().shard_cross_entropy_backward(view(gradient, {rows, shard.columns()}), shard.view(),
                                                view(sums, {rows}), view(targets), view(weight, {rows}), shard.first,
                                                emulated_stream());
        EXPECT_TRUE(same_bits(gradient, part(whole, shard.first, shard.end)));
    }
}

class EmulatedShardSampling : public testing::Test {
  protected:
    EmulatedShardSampling() {
        for (float& x : shard.logits) x = std::floor(x);
        for (ShardRow const& row : draws)
            for (std::int64_t id = 0; id < stride; ++id) {
                float const x = id < ids ? shard.logits[index(row.row * shard.columns() + id)] : -infinity;
                weights.push_back(std::trunc(expf((x - row.max) / row.temperature) * 0x1p40F));
            }
    }
    float weight(std::int64_t row, std::int64_t id) const { return weights[index(row * stride + id)]; }
    TensorView view_of_weights() const { return view(weights, {static_cast<std::int64_t>(draws.size()), stride}); }

    Shard shard = shards()[1];
    std::int64_t ids = shard.columns() - 3;
    std::int64_t stride = weights_stride(ids);
    std::int64_t blocks = vocabulary_blocks(ids);
    std::vector<ShardRow> draws = {{2, 9, 1, 4}, {0, 9.5F, 0.7F, 0}};
    Floats weights;
};

TEST_F(EmulatedShardSampling, Weights) {
    Floats kept(weights.size(), NAN), bounds(2, -7);
    std::vector<std::int64_t> totals(index(2 * blocks)), again(totals.size());
    emulated().shard_weights(totals, bounds, view(kept, view_of_weights().shape()), shard.view(), ids, draws,
                             emulated_stream());
    EXPECT_TRUE(same_bits(kept, weights));
    for (std::int64_t row = 0; row < 2; ++row)
        for (std::int64_t block = 0; block < blocks; ++block) {
            std::int64_t total = 0;
            for (std::int64_t id = block * 1024; id < std::min(ids, block * 1024 + 1024); ++id)
                total += static_cast<std::int64_t>(weight(row, id));
            EXPECT_EQ(totals[index(row * blocks + block)], total);
        }
    EXPECT_GE(std::count_if(weights.begin(), weights.begin() + ids, [&](float w) { return w >= bounds[0]; }), 4);
    EXPECT_GT(bounds[0], 1e6F);  // and not just anything: a lane has some 30 ids
    EXPECT_EQ(bounds[1], -7);    // not asked for
    emulated().shard_weights(again, {}, {}, shard.view(), ids, draws, emulated_stream());
    EXPECT_EQ(again, totals);
}

TEST_F(EmulatedShardSampling, MeasuresAndCandidates) {
    std::vector<WeightRange> ranges = {{0, 1e4F, 1e8F, 0}, {1, weight(1, 7), infinity, 0}, {1, 1e20F, infinity, 0}};
    std::vector<Candidate> wanted;
    std::vector<Measure> measures(ranges.size());
    emulated().measure_weights(measures, view_of_weights(), ids, ranges, emulated_stream());
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        ranges[i].first = static_cast<std::int64_t>(wanted.size());
        Measure measure;
        for (std::int64_t id = 0; id < ids; ++id) {
            float const w = weight(ranges[i].row, id);
            if (w >= ranges[i].low) measure += {1, static_cast<std::int64_t>(w)};
            if (w >= ranges[i].low && w < ranges[i].high) wanted.push_back({w, static_cast<std::int32_t>(id)});
        }
        EXPECT_EQ(measures[i].count, measure.count);
        EXPECT_EQ(measures[i].sum, measure.sum);
    }
    ASSERT_GT(wanted.size(), 3U);
    std::vector<Candidate> got(wanted.size());
    emulated().candidates_between(got, view_of_weights(), ids, ranges, emulated_stream());
    for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].id, wanted[i].id);
        EXPECT_EQ(got[i].weight, wanted[i].weight);
    }
}

TEST_F(EmulatedShardSampling, KeptTotalsAndDraws) {
    float const middle = weight(0, 5);
    std::vector<RowCut> const cuts = {
        {0, {}}, {0, {{middle, 5}}}, {0, {{middle, -3}}}, {0, {{0x1p38F, -3}}}, {1, {{1e6F, 1 << 20}}}};
    std::vector<std::int64_t> totals(cuts.size() * index(blocks));
    emulated().kept_totals(totals, view_of_weights(), ids, cuts, emulated_stream());
    std::vector<BlockDraw> draw;
    std::vector<Candidate> wanted;
    for (std::size_t i = 0; i < cuts.size(); ++i)
        for (std::int64_t block = 0; block < blocks; ++block) {
            std::int64_t const total = totals[i * index(blocks) + index(block)];
            std::int64_t sum = 0;
            std::int64_t const target = i % 2 == 0 ? total / 2 : total - 1;
            for (std::int64_t id = block * 1024; id < std::min(ids, block * 1024 + 1024); ++id) {
                Candidate const candidate{weight(cuts[i].row, id), static_cast<std::int32_t>(id)};
                if (!cuts[i].cut.keeps(candidate)) continue;
                bool const before = sum <= target;
                sum += candidate.whole();
                if (!before || sum <= target) continue;
                wanted.push_back(candidate);
                draw.push_back({draws[index(cuts[i].row)], cuts[i].cut, block, target});
            }
            EXPECT_EQ(total, sum);
        }
    ASSERT_GT(wanted.size(), 2U);
    std::vector<Candidate> drawn(draw.size());
    emulated().draw_in_blocks(drawn, shard.view(), ids, draw, emulated_stream());
    for (std::size_t i = 0; i < drawn.size(); ++i) {
        EXPECT_EQ(drawn[i].id, wanted[i].id);
        EXPECT_EQ(drawn[i].weight, wanted[i].weight);
    }
}

TEST(EmulatedVocabularyShard, WithoutRowsOrIds) {
    std::vector<BlockSum> sums;
    Floats largest;
    TensorView const nothing = TensorView::of<float>(nullptr, {0, 5});
    emulated().block_sums(sums, largest, nothing, 5, emulated_stream());
    emulated().shard_argmax({}, nothing, 5, emulated_stream());
    Shard const shard = shards()[0];
    Floats bounds(1);
    std::vector<ShardRow> const row = {{0, 9, 1, 4}};
    emulated().shard_weights({}, bounds, view(bounds, {1}), shard.view(), 0, row, emulated_stream());
    EXPECT_EQ(bounds[0], least_weight);
}

}  // namespace
}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
// A vocabulary that is split over the ranks of this test against the kernels on the whole logits, bit by bit.
#include "model/vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "kernels/cross_entropy.h"
#include "kernels/elements.h"
#include "kernels/softmax.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using test::Floats;
using test::same_bits;
using test::view;
using Ids = std::vector<std::int32_t>;

constexpr float infinity = std::numeric_limits<float>::infinity();

// Ids that may be drawn, and all that there are. With one rank or with several: at least one block for each, or not;
// drawable ids everywhere, or none on the last ranks.
struct Sizes {
    std::int64_t ids;
    std::int64_t all;
};
std::vector<Sizes> const all_sizes = {{512, 512}, {500, 512}, {3000, 3000}, {1000, 3000}, {4099, 5003}, {50257, 50304}};

enum class Kind { spread, peaked, grid, masked, equal };
std::vector<Kind> const all_kinds = {Kind::spread, Kind::peaked, Kind::grid, Kind::masked, Kind::equal};

Floats random_logits(Kind kind, std::int64_t rows, std::int64_t n, std::uint32_t seed) {
    Random const random(21, Purpose::test);
    Floats logits(static_cast<std::size_t>(rows * n));
    std::uint32_t const test = 8 * seed + static_cast<std::uint32_t>(kind);
    for (std::size_t i = 0; i < logits.size(); ++i) {
        double const u = random.uniform({test, static_cast<std::uint32_t>(i), 0}) + 1e-12;
        auto x = static_cast<float>(-std::log(u) * (kind == Kind::peaked ? 4 : 1));  // a long tail upwards
        if (kind == Kind::grid) x = std::round(2 * x) / 2;
        if (kind == Kind::masked && i % 3 == 1) x = -infinity;
        if (kind == Kind::equal) x = 2.5F;
        logits[i] = x;
    }
    return logits;
}

class Split {
  public:
    explicit Split(std::int64_t all) : all_(all), vocabulary(*world_, vocabulary_parts(all, world_->size())) {}
    bool in_whole_blocks() const { return (all_ + 1023) / 1024 >= world_->size(); }

    // This rank's columns.
    template <class T>
    std::vector<T> own(std::vector<T> const& whole) const {
        Range const part = vocabulary.part();
        std::vector<T> result;
        for (auto row = whole.begin(); row != whole.end(); row += all_)
            result.insert(result.end(), row + part.begin, row + part.end);
        return result;
    }
    Shape shape(std::int64_t rows) const { return {rows, vocabulary.part().size()}; }

  private:
    std::unique_ptr<Communicator> world_ = test::world();
    std::int64_t all_;

  public:
    Vocabulary vocabulary;
    Stream stream{DeviceKind::cpu};
};

Floats whole_log_sum_exp(Floats const& logits, std::int64_t rows, std::int64_t n) {
    Stream stream(DeviceKind::cpu);
    Floats sums(static_cast<std::size_t>(rows));
    kernels::log_sum_exp(view(sums, {rows}), view(logits, {rows, n}), stream);
    return sums;
}

// Ids around the borders of parts, and others.
Ids some_targets(std::int64_t rows, std::int64_t n) {
    std::vector<Range> const parts = vocabulary_parts(n, test::world()->size());
    Ids targets;
    for (std::int64_t row = 0; row < rows; ++row) {
        Range const part = parts[static_cast<std::size_t>(row / 5) % parts.size()];
        std::int64_t const places[] = {part.begin, part.end - 1, part.end, part.begin + 1, part.begin - 1};
        targets.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(places[row % 5], 0, n - 1)));
    }
    return targets;
}

TEST(Vocabulary, PartsAreWholeBlocksWhereThereAreEnough) {
    EXPECT_EQ(vocabulary_parts(50304, 1), (std::vector<Range>{{0, 50304}}));
    EXPECT_EQ(vocabulary_parts(3000, 3), (std::vector<Range>{{0, 1024}, {1024, 2048}, {2048, 3000}}));
    EXPECT_EQ(vocabulary_parts(50304, 2), (std::vector<Range>{{0, 25600}, {25600, 50304}}));
    EXPECT_EQ(vocabulary_parts(513, 2), (std::vector<Range>{{0, 256}, {256, 513}}));
}

TEST(Vocabulary, LogSumExpIsThatOfTheWhole) {
    for (auto const& [ids, all] : all_sizes) {
        for (Kind const kind : all_kinds) {
            std::int64_t const rows = 7;
            Floats const logits = random_logits(kind, rows, all, 1);
            Split split(all);
            Floats const own = split.own(logits), whole = whole_log_sum_exp(logits, rows, all);
            Floats sums(rows, 7);
            split.vocabulary.log_sum_exp(view(sums, {rows}), view(own, split.shape(rows)), split.stream);
            // Blocks of other sizes: sums of positive terms in another order, a logarithm below 32.
            double const tolerance = split.in_whole_blocks() ? 0 : (512.0 / 16 + 32 + 32) * test::epsilon_f32;
            for (std::size_t row = 0; row < sums.size(); ++row) ASSERT_NEAR(sums[row], whole[row], tolerance) << all;
        }
    }
}

TEST(Vocabulary, TargetsAnywhere) {
    for (auto const& [ids, all] : all_sizes) {
        std::int64_t const rows = 20;
        Floats const logits = random_logits(Kind::spread, rows, all, 2);
        Ids const targets = some_targets(rows, all);
        Split split(all);
        Floats const own = split.own(logits), sums = whole_log_sum_exp(logits, rows, all);
        Floats expected(rows), got(rows, 7);
        kernels::target_log_probability(view(expected, {rows}), view(logits, {rows, all}), view(sums, {rows}),
                                        view(targets), split.stream);
        split.vocabulary.target_log_probability(view(got, {rows}), view(own, split.shape(rows)), view(sums, {rows}),
                                                view(targets), split.stream);
        EXPECT_TRUE(same_bits(got, expected)) << all;
    }
    Split split(512);
    Floats const one(1), own(static_cast<std::size_t>(split.vocabulary.part().size()));
    EXPECT_THROW(split.vocabulary.target_log_probability(view(one, {1}), view(own, split.shape(1)), view(one, {1}),
                                                         view(Ids{512}), split.stream),
                 Error);
}

template <class E>
class VocabularyGradient : public testing::Test {};
TYPED_TEST_SUITE(VocabularyGradient, test::ElementTypes);

TYPED_TEST(VocabularyGradient, IsTheWholeOnesPart) {
    for (auto const& [ids, all] : all_sizes) {
        std::int64_t const rows = 20;
        Floats const logits = random_logits(Kind::spread, rows, all, 3);
        Ids const targets = some_targets(rows, all);
        Floats weights = test::random_floats(rows, 4, 2);
        weights[6] = 0;
        Split split(all);
        Floats const own = split.own(logits), sums = whole_log_sum_exp(logits, rows, all);
        std::vector<TypeParam> whole(logits.size()), got(own.size());
        kernels::cross_entropy_backward(view(whole, {rows, all}), view(logits, {rows, all}), view(sums, {rows}),
                                        view(targets), view(weights, {rows}), split.stream);
        split.vocabulary.cross_entropy_backward(view(got, split.shape(rows)), view(own, split.shape(rows)),
                                                view(sums, {rows}), view(targets), view(weights, {rows}), split.stream);
        EXPECT_TRUE(same_bits(test::floats_of(got), test::floats_of(split.own(whole)))) << all;
        if constexpr (std::is_same_v<TypeParam, float>) {  // in the logits' place
            split.vocabulary.cross_entropy_backward(view(own, split.shape(rows)), view(own, split.shape(rows)),
                                                    view(sums, {rows}), view(targets), view(weights, {rows}),
                                                    split.stream);
            EXPECT_TRUE(same_bits(own, got)) << all;
        }
    }
}

TEST(Vocabulary, ArgmaxTakesTheLowestOfEqualLogits) {
    for (auto const& [ids, all] : all_sizes) {
        std::int64_t const rows = 24;
        for (Kind const kind : all_kinds) {
            Floats logits = random_logits(kind, rows, all, 5);
            // The largest at some places, the first of them in any part.
            for (std::int64_t row = 0; row < rows; ++row)
                for (std::int64_t i = row * ids / rows; i < all; i += 1 + all / 5)
                    logits[static_cast<std::size_t>(row * all + i)] = 50;
            std::fill_n(logits.begin(), all, -infinity);
            std::fill_n(logits.begin(), all - 2, std::numeric_limits<float>::quiet_NaN());
            Split split(all);
            Floats const own = split.own(logits);
            Ids expected(rows), got(rows, 7);
            for (std::int64_t const first : {ids, all, std::int64_t{1}}) {
                kernels::argmax(view(expected), view(logits, {rows, all}), first, split.stream);
                split.vocabulary.argmax(view(got), view(own, split.shape(rows)), first, split.stream);
                ASSERT_EQ(got, expected) << first << " of " << all;
            }
        }
    }
}

// Every combination, each with other bits.
std::vector<kernels::Sampling> all_samplings(std::uint32_t seed) {
    Random const random(22, Purpose::test);
    std::vector<kernels::Sampling> all;
    for (double const temperature : {0.0, 0.7, 1.0})
        for (double const top_p : {1.0, 0.9, 0.3})
            for (std::int64_t const top_k : {0, 1, 5, 40, 700, 2500, 50256}) {
                auto const index = static_cast<std::uint32_t>(all.size());
                all.push_back({temperature, top_p, top_k, random.bits({seed, index, 0})});
            }
    all.push_back({1, 1, 0, 0});
    all.push_back({1, 1, 0, ~std::uint64_t{0}});
    all.push_back({1, 0.9, 40, ~std::uint64_t{0}});
    all.push_back({1, 0, 0, ~std::uint64_t{0}});
    all.push_back({1e-25, 0.9, 5, 1});
    for (std::uint32_t row = 0; row < 20; ++row) all.push_back({1, 1, 0, random.bits({seed, row, 1})});
    for (std::uint32_t row = 0; row < 20; ++row) all.push_back({1, 0.95, 50, random.bits({seed, row, 2})});
    return all;
}

struct Samples {
    Ids tokens;
    Floats log_probability, sums;
};

// The log-sum-exp in the same pass, if `summed`.
template <class Sample>
Samples sampled(std::size_t rows, bool summed, Sample const& sample) {
    Samples samples{Ids(rows, -7), Floats(rows, 7), Floats(rows, 7)};
    auto const count = static_cast<std::int64_t>(rows);
    sample(view(samples.tokens), view(samples.log_probability, {count}),
           summed ? view(samples.sums, {count}) : TensorView());
    return samples;
}

void expect_same_samples(Split& split, Sizes const& sizes, Kind kind, std::uint32_t seed,
                         std::vector<kernels::Sampling> const& samplings, bool summed) {
    auto const rows = static_cast<std::int64_t>(samplings.size());
    Floats const logits = random_logits(kind, rows, sizes.all, seed);
    Floats const own = split.own(logits);
    Samples const expected = sampled(samplings.size(), summed, [&](auto tokens, auto probability, auto sums) {
        kernels::sample(tokens, probability, sums, view(logits, {rows, sizes.all}), sizes.ids, samplings, split.stream);
    });
    Samples const got = sampled(samplings.size(), summed, [&](auto tokens, auto probability, auto sums) {
        split.vocabulary.sample(tokens, probability, sums, view(own, split.shape(rows)), sizes.ids, samplings,
                                split.stream);
    });
    for (std::size_t row = 0; row < samplings.size(); ++row) {
        kernels::Sampling const& s = samplings[row];
        ASSERT_EQ(got.tokens[row], expected.tokens[row])
            << sizes.ids << " of " << sizes.all << " kind " << static_cast<int>(kind) << " temperature "
            << s.temperature << " top_p " << s.top_p << " top_k " << s.top_k;
    }
    ASSERT_TRUE(same_bits(got.log_probability, expected.log_probability));
    if (split.in_whole_blocks()) {
        ASSERT_TRUE(same_bits(got.sums, expected.sums));
    }
}

TEST(Vocabulary, SamplesAreThoseOfTheWhole) {
    for (Sizes const& sizes : all_sizes) {
        Split split(sizes.all);  // calls of different sizes
        for (Kind const kind : all_kinds)
            for (std::uint32_t seed = 0; seed < (sizes.all > 10000 ? 1U : 4U); ++seed) {
                std::vector<kernels::Sampling> samplings = all_samplings(seed);
                if (seed == 2) samplings.resize(5);
                expect_same_samples(split, sizes, kind, seed, samplings, seed != 1);
            }
    }
}

TEST(Vocabulary, SamplesAtTheBordersOfParts) {
    // Equal logits in blocks of 1024 ids, which are never cut: targets that meet the total of a part exactly.
    std::int64_t const all = 4096, rows = 8;
    Floats const logits(static_cast<std::size_t>(rows * all), 1.5F);
    std::vector<kernels::Sampling> samplings;
    Ids expected;
    for (std::uint32_t block = 0; block < 4; ++block) {
        std::uint64_t const bits = std::uint64_t{block} << 62;
        samplings.push_back({1, 1, 0, bits});
        samplings.push_back({1, 1, 0, bits - 1});
        expected.push_back(static_cast<std::int32_t>(1024 * block));
        expected.push_back(static_cast<std::int32_t>((1024 * block + 4095) % 4096));
    }
    Split split(all);
    Floats const own = split.own(logits);
    Samples const got = sampled(rows, true, [&](auto tokens, auto probability, auto sums) {
        split.vocabulary.sample(tokens, probability, sums, view(own, split.shape(rows)), all, samplings, split.stream);
    });
    EXPECT_EQ(got.tokens, expected);
}

TEST(Vocabulary, SamplesOfUnequalParts) {
    // A part of one id, parts that end inside blocks.
    auto const world = test::world();
    std::int64_t const all = 2600, rows = 40;
    std::vector<Range> parts;
    for (std::int64_t rank = 0; rank < world->size(); ++rank)
        parts.push_back({rank == 0 ? 0 : 100 * rank * rank + 1, 100 * (rank + 1) * (rank + 1) + 1});
    parts.front().end = std::min<std::int64_t>(parts.front().end, 1);
    if (world->size() > 1) parts[1].begin = 1;
    parts.back().end = all;
    Vocabulary vocabulary(*world, parts);
    Stream stream(DeviceKind::cpu);
    for (double const top_p : {1.0, 0.9}) {
        std::vector<kernels::Sampling> samplings(rows, {1, top_p, 0, 0});
        for (std::size_t row = 0; row < samplings.size(); ++row) samplings[row].bits = row << 58;
        Floats const logits = random_logits(Kind::spread, rows, all, 9);
        Floats own;
        for (std::int64_t row = 0; row < rows; ++row)
            own.insert(own.end(), logits.begin() + row * all + vocabulary.part().begin,
                       logits.begin() + row * all + vocabulary.part().end);
        Samples const expected = sampled(rows, false, [&](auto tokens, auto probability, auto sums) {
            kernels::sample(tokens, probability, sums, view(logits, {rows, all}), all, samplings, stream);
        });
        Samples const got = sampled(rows, false, [&](auto tokens, auto probability, auto sums) {
            vocabulary.sample(tokens, probability, sums, view(own, {rows, vocabulary.part().size()}), all, samplings,
                              stream);
        });
        EXPECT_EQ(got.tokens, expected.tokens);
        EXPECT_TRUE(same_bits(got.log_probability, expected.log_probability));
    }
}

class NotFinite : public testing::TestWithParam<kernels::Sampling> {
  protected:
    static constexpr std::int64_t all = 3000, rows = 6;
    Floats logits = random_logits(Kind::spread, rows, all, 6);
    Split split{all};
    Samples sample(Floats const& of, std::int64_t count, bool summed) {
        std::vector<kernels::Sampling> const samplings(static_cast<std::size_t>(count), GetParam());
        Floats const own = split.own(of);
        return sampled(samplings.size(), summed, [&](auto tokens, auto probability, auto sums) {
            split.vocabulary.sample(tokens, probability, sums, view(own, split.shape(count)), all, samplings,
                                    split.stream);
        });
    }
    void SetUp() override {
        logits[200] = std::numeric_limits<float>::quiet_NaN();
        logits[2 * all - 1] = infinity;
        std::fill_n(logits.begin() + 2 * all, all, std::numeric_limits<float>::quiet_NaN());
        std::fill_n(logits.begin() + 3 * all, all, -infinity);
    }
};

TEST_P(NotFinite, RowsDrawNothing) {
    std::vector<kernels::Sampling> const samplings(rows, GetParam());
    Samples const expected = sampled(rows, true, [&](auto tokens, auto probability, auto sums) {
        kernels::sample(tokens, probability, sums, view(logits, {rows, all}), all, samplings, split.stream);
    });
    Samples const got = sample(logits, rows, true);
    EXPECT_EQ(got.tokens, expected.tokens);
    EXPECT_TRUE(same_bits(got.log_probability, expected.log_probability));
    for (std::size_t row = 0; row < 4; ++row) {
        EXPECT_FALSE(std::isfinite(got.sums[row])) << row;
        EXPECT_EQ(got.tokens[row], 0);
    }
}

TEST_P(NotFinite, WithoutTheSumsThereIsAnErrorOnEveryRank) {
    if (GetParam().temperature == 0) return;
    for (std::int64_t const row : {1, 2, 3}) {
        Floats const one(logits.begin() + row * all, logits.begin() + (row + 1) * all);
        EXPECT_THROW(sample(one, 1, false), Error) << row;
        EXPECT_GE(sample(Floats(logits.end() - all, logits.end()), 1, false).tokens[0], 0);  // the next call works
    }
}

INSTANTIATE_TEST_SUITE_P(Vocabulary, NotFinite,
                         testing::Values(kernels::Sampling{}, kernels::Sampling{1, 0.9, 5}, kernels::Sampling{0}));

}  // namespace
}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "base/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "base/permutation.h"

namespace selvage {
namespace {

// The philox4x32-10 lines of Random123's kat_vectors.
TEST(Philox, KnownAnswers) {
    EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    std::uint32_t const ones = 0xffffffff;
    EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
              (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, WhereADrawGoes) {
    Random const random(0x0123456789abcdef, Purpose::sample);
    DrawIndex const at{1, 2, 3, 4, 5, 6};
    PhiloxCounter const expected = philox4x32({1, 2, 3, 0x00040506}, {0x89abcdef, 0x01234567 ^ 4});
    EXPECT_EQ(random.words(at), expected);
    EXPECT_EQ(random.bits(at), std::uint64_t{expected[1]} << 32 | expected[0]);
    EXPECT_EQ(random.uniform(at), std::ldexp(static_cast<double>(random.bits(at) >> 11), -53));
}

TEST(Philox, UniformLooksUniform) {
    Random const random(7, Purpose::test);
    int const n = 100000;
    std::vector<int> bins(10);
    double sum = 0;
    for (int i = 0; i < n; ++i) {
        double const u = random.uniform({0, static_cast<std::uint32_t>(i)});
        ASSERT_GE(u, 0);
        ASSERT_LT(u, 1);
        sum += u;
        ++bins[static_cast<std::size_t>(u * 10)];
    }
    EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
    for (int count : bins) EXPECT_NEAR(count, n / 10.0, 5 * std::sqrt(n * 0.1 * 0.9));
}

TEST(Philox, NameHashIsFnv1a) {
    EXPECT_EQ(name_hash("", 0), 0xcbf29ce484222325ull);
    EXPECT_EQ(name_hash("a", 1), 0xaf63dc4c8601ec8cull);
    EXPECT_EQ(name_hash("foobar", 6), 0x85944171f73967e8ull);
}

TEST(Permutation, IsABijection) {
    for (std::uint64_t size : {1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4096, 5000}) {
        Permutation const permutation(size, 11, Purpose::data_order, 3);
        std::vector<bool> seen(size);
        for (std::uint64_t i = 0; i < size; ++i) {
            std::uint64_t const j = permutation(i);
            ASSERT_LT(j, size);
            ASSERT_FALSE(seen[j]) << size;
            seen[j] = true;
        }
    }
}

TEST(Permutation, DependsOnSeedPurposeAndStream) {
    auto const list = [](std::uint64_t seed, Purpose purpose, std::uint32_t stream) {
        Permutation const permutation(100, seed, purpose, stream);
        std::vector<std::uint64_t> out(100);
        for (std::uint64_t i = 0; i < 100; ++i) out[i] = permutation(i);
        return out;
    };
    auto const first = list(1, Purpose::data_order, 0);
    EXPECT_EQ(first, list(1, Purpose::data_order, 0));
    EXPECT_NE(first, list(2, Purpose::data_order, 0));
    EXPECT_NE(first, list(1, Purpose::train_order, 0));
    EXPECT_NE(first, list(1, Purpose::data_order, 1));
}

// Where one index goes over many seeds: near the mean of a uniform place, and few places that are missed.
TEST(Permutation, ScattersAnIndex) {
    int const seeds = 4000;
    double sum = 0;
    std::set<std::uint64_t> places;
    for (int seed = 0; seed < seeds; ++seed) {
        std::uint64_t const place = Permutation(100, static_cast<std::uint64_t>(seed), Purpose::data_order, 0)(42);
        sum += static_cast<double>(place);
        places.insert(place);
    }
    EXPECT_NEAR(sum / seeds, 49.5, 5 * std::sqrt((100.0 * 100 - 1) / 12 / seeds));
    EXPECT_EQ(places.size(), 100U);
}

}  // namespace
}  // namespace selvage

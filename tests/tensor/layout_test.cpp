// SPDX-License-Identifier: Apache-2.0
#include "tensor/layout.h"

#include <gtest/gtest.h>

namespace selvage {
namespace {

TEST(Layout, Ranges) {
    Range const r{3, 7};
    EXPECT_EQ(r.size(), 4);
    EXPECT_TRUE(r.contains(3) && r.contains(6));
    EXPECT_FALSE(r.contains(2) || r.contains(7));
    EXPECT_EQ(r.intersect({5, 9}), (Range{5, 7}));
    EXPECT_EQ(r.intersect({0, 20}), r);
    EXPECT_EQ(r.intersect({7, 9}).size(), 0);
    EXPECT_EQ(r.intersect({0, 2}).size(), 0);
}

TEST(Layout, EvenSplitCoversInOrderAndEvenly) {
    for (std::int64_t parts : {1, 2, 3, 4, 7, 8}) {
        for (std::int64_t count : {0, 1, 2, 3, 5, 8, 13, 64, 1000}) {
            EvenSplit const split(count, parts);
            EXPECT_EQ(split.parts(), parts);
            std::int64_t next = 0;
            for (std::int64_t p = 0; p < parts; ++p) {
                Range const part = split.part(p);
                EXPECT_EQ(part.begin, next);
                EXPECT_GE(part.size(), count / parts);
                EXPECT_LE(part.size(), (count + parts - 1) / parts);
                for (std::int64_t i = part.begin; i < part.end; ++i) EXPECT_EQ(split.owner(i), p);
                next = part.end;
            }
            EXPECT_EQ(next, count);
        }
    }
}

TEST(Layout, EvenSplitOfLargeCounts) {
    // 2^50 elements over 4096 ranks: no overflow.
    EvenSplit const split(std::int64_t{1} << 50, 4096);
    EXPECT_EQ(split.part(4095).end, std::int64_t{1} << 50);
    EXPECT_EQ(split.owner((std::int64_t{1} << 50) - 1), 4095);
}

TEST(Layout, BlockSplitKeepsBlocksWhole) {
    for (std::int64_t parts : {1, 2, 3, 4, 7}) {
        for (std::int64_t size : {0, 1, 63, 64, 65, 640, 1000}) {
            BlockSplit const split(size, 64, parts);
            EXPECT_EQ(split.blocks(), (size + 63) / 64);
            EXPECT_EQ(split.block_size(), 64);
            std::int64_t next = 0;
            for (std::int64_t p = 0; p < parts; ++p) {
                Range const part = split.part(p);
                EXPECT_EQ(part.begin, next);
                EXPECT_TRUE(part.begin % 64 == 0 || part.begin == size);
                EXPECT_TRUE(part.end % 64 == 0 || part.end == size);
                EXPECT_EQ(split.block_range(p).size(), (part.size() + 63) / 64);
                next = part.end;
            }
            EXPECT_EQ(next, size);
        }
    }
    BlockSplit const split(1000, 64, 3);
    EXPECT_EQ(split.part(0), (Range{0, 320}));
    EXPECT_EQ(split.part(1), (Range{320, 640}));
    EXPECT_EQ(split.part(2), (Range{640, 1000}));
}

}  // namespace
}  // namespace selvage

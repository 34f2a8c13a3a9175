// SPDX-License-Identifier: Apache-2.0
// Sums over the ranks of an axis do not depend on where a row lies; those of a ring would.
#include "model/tensor_axis.h"

#include <gtest/gtest.h>

#include <cstring>

#include "comm/lane_values.h"
#include "support/test_main.h"

namespace selvage {
namespace {

constexpr std::int64_t columns = 8;
using Split = TensorAxis::Split;

// What `rank` has of row `row`.
float part(int rank, std::int64_t row, std::int64_t column) { return test::lane_value(rank, row * columns + column); }

// Rows `first` .. of this rank's parts.
std::vector<float> parts(int rank, std::int64_t first, std::int64_t rows) {
    std::vector<float> values;
    for (std::int64_t row = first; row < first + rows; ++row)
        for (std::int64_t column = 0; column < columns; ++column) values.push_back(part(rank, row, column));
    return values;
}

float sum_in_rank_order(int ranks, std::int64_t row, std::int64_t column) {
    float sum = part(0, row, column);
    for (int r = 1; r < ranks; ++r) sum += part(r, row, column);
    return sum;
}

TEST(TensorAxis, SumsAreInRankOrderWhereverARowLies) {
    auto const world = test::world();
    auto const device = make_device("cpu");
    Arena arena(*device);
    ProcessGrid const grid(test::world(), {.tensor = world->size()});
    TensorAxis axis(arena, grid);
    Stream stream(*device);
    for (Split const split : {Split::always, Split::for_many})
        for (std::int64_t const rows : {1, 5, 64, 65, 200})
            for (std::int64_t const first : {0, 3}) {
                auto partial = parts(world->rank(), first, rows);
                Range const own = axis.own(rows, split);
                EXPECT_LE(own.size(), axis.most_own(rows, split));
                std::vector<float> sums(static_cast<std::size_t>(own.size() * columns) + 1);
                axis.sum(TensorView::of(sums.data(), {own.size(), columns}),
                         TensorView::of(partial.data(), {rows, columns}), split, stream);
                for (std::int64_t i = 0; i < own.size(); ++i)
                    for (std::int64_t c = 0; c < columns; ++c)
                        ASSERT_EQ(sums[static_cast<std::size_t>(i * columns + c)],
                                  sum_in_rank_order(world->size(), first + own.begin + i, c))
                            << rows << " rows, row " << own.begin + i;
            }
}

TEST(TensorAxis, GatherBringsAllRows) {
    auto const world = test::world();
    auto const device = make_device("cpu");
    Arena arena(*device);
    ProcessGrid const grid(test::world(), {.tensor = world->size()});
    TensorAxis axis(arena, grid);
    Stream stream(*device);
    for (Split const split : {Split::always, Split::for_many})
        for (std::int64_t const rows : {1, 2, 64, 65, 201}) {
            Range const own = axis.own(rows, split);
            std::vector<float> all(static_cast<std::size_t>(rows * columns), -1);
            auto const mine = parts(0, own.begin, own.size());
            std::copy(mine.begin(), mine.end(), all.begin() + own.begin * columns);
            axis.gather(TensorView::of(all.data(), {rows, columns}), split, stream);
            EXPECT_EQ(all, parts(0, 0, rows)) << rows;
        }
}

// The textbook's all-reduce: chunk c is summed along the ring, beginning behind rank c.
std::vector<float> ring_all_reduce(Communicator& ranks, std::vector<float> values) {
    int const size = ranks.size(), rank = ranks.rank(), next = (rank + 1) % size, last = (rank + size - 1) % size;
    auto const chunk = [&](int index) {
        Range const r = EvenSplit(static_cast<std::int64_t>(values.size()), size).part((index + 2 * size) % size);
        return std::span(values).subspan(static_cast<std::size_t>(r.begin), static_cast<std::size_t>(r.size()));
    };
    for (int step = 0; step < 2 * (size - 1); ++step) {
        ranks.send(std::as_bytes(chunk(rank - step)), next, 1);
        auto const bytes = ranks.receive(last, 1);
        auto const to = chunk(rank - step - 1);
        std::vector<float> got(to.size());
        std::memcpy(got.data(), bytes.data(), bytes.size());
        for (std::size_t i = 0; i < to.size(); ++i) to[i] = step < size - 1 ? to[i] + got[i] : got[i];
    }
    return values;
}

TEST(TensorAxis, ARingWouldFail) {
    auto const world = test::world();
    if (world->size() < 3) GTEST_SKIP() << "two numbers have one sum";
    // The same row at the buffer's beginning, and behind others.
    auto const at_first = ring_all_reduce(*world, parts(world->rank(), 40, 60));
    auto const behind = ring_all_reduce(*world, parts(world->rank(), 0, 60));
    int differing = 0;
    for (std::size_t i = 0; i < 20 * columns; ++i) differing += at_first[i] != behind[i + 40 * columns];
    EXPECT_GT(differing, 10);
}

}  // namespace
}  // namespace selvage

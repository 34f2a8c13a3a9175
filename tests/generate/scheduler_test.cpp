// SPDX-License-Identifier: Apache-2.0
// Which rows run in a step, and which pages they use.
#include "generate/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "generate/small_model.h"

namespace selvage {
namespace {

constexpr std::int64_t page = kernels::kv_page_tokens;

std::vector<Token> tokens_of(std::uint32_t what, std::size_t count = static_cast<std::size_t>(page)) {
    return test::random_tokens(what, 9, count);
}

TEST(PagePool, PublishedPagesAreFoundByTheirContentAndPlace) {
    PagePool pool(4);
    std::vector<std::int32_t> a, b;
    ASSERT_TRUE(pool.extend(a, 3 * page));
    auto const one = tokens_of(1), two = tokens_of(2);
    EXPECT_FALSE(pool.find(PagePool::no_page, one));
    pool.publish(a[0], PagePool::no_page, one);
    pool.publish(a[1], a[0], two);
    EXPECT_EQ(pool.find(PagePool::no_page, one), a[0]);
    EXPECT_EQ(pool.find(a[0], two), a[1]);
    EXPECT_FALSE(pool.find(PagePool::no_page, two));
    EXPECT_FALSE(pool.find(a[1], two));
    EXPECT_FALSE(pool.find(a[0], one));
    auto nearly = two;
    nearly.back() ^= 1;
    EXPECT_FALSE(pool.find(a[0], nearly));
    // A second page of the same content stays its owner's alone.
    ASSERT_TRUE(pool.extend(b, page));
    pool.publish(b[0], PagePool::no_page, one);
    EXPECT_EQ(pool.find(PagePool::no_page, one), a[0]);
    EXPECT_EQ(pool.free_pages(), 0);
    pool.share(b, 0, a[0]);  // gives its own back
    pool.share(b, 1, a[1]);
    EXPECT_EQ(pool.free_pages(), 1);
    // Pages live as long as their last user.
    pool.give_back(a);
    EXPECT_EQ(pool.free_pages(), 2);
    EXPECT_EQ(pool.find(b[0], two), b[1]);
    pool.give_back(b);
    EXPECT_EQ(pool.free_pages(), 4);
    EXPECT_FALSE(pool.find(PagePool::no_page, one));
}

TEST(PagePool, ContentIsComparedNotItsHash) {
    // With one bucket everything collides.
    PagePool pool(1);
    std::vector<std::int32_t> a;
    ASSERT_TRUE(pool.extend(a, page));
    pool.publish(a[0], PagePool::no_page, tokens_of(1));
    for (std::uint32_t i = 2; i < 50; ++i) EXPECT_FALSE(pool.find(PagePool::no_page, tokens_of(i)));
    EXPECT_TRUE(pool.find(PagePool::no_page, tokens_of(1)));
}

// A scheduler with a model that always draws token 1.
struct Steps {
    Steps(std::int64_t pages, std::int64_t streams) : scheduler(pages, streams, 256) {}

    void add(std::uint32_t prompt, std::size_t length, std::int64_t max_new_tokens) {
        DraftRequest request;
        request.prompt = tokens_of(prompt, length);
        request.max_new_tokens = max_new_tokens;
        scheduler.add(Sequence(std::move(request), order++, 4096));
    }
    // Rows of the step, and those of them that are prompts'.
    std::pair<std::int64_t, std::int64_t> step() {
        scheduler.plan();
        for (Sequence* const sequence : scheduler.drawing()) sequence->append({1, 0}, 0, {});
        auto const rows = static_cast<std::int64_t>(scheduler.batch().tokens.size());
        std::int64_t covered = 0;
        for (auto const& segment : scheduler.batch().segments) {
            EXPECT_EQ(segment.first_row, covered);
            EXPECT_LE(segment.first_position + segment.rows,
                      page * static_cast<std::int64_t>(segment.page_table.size()));
            covered += segment.rows;
        }
        EXPECT_EQ(covered, rows);
        scheduler.take_finished([&](Sequence&&) { ++finished; });
        return {rows, scheduler.prefill_rows()};
    }

    Scheduler scheduler;
    std::int64_t order = 0;
    int finished = 0;
};

TEST(Scheduler, StepsWithPromptsHaveRowCountsThatProductsLike) {
    Steps steps(1000, 40);
    for (std::uint32_t i = 0; i < 30; ++i) steps.add(i, 1, 1000);
    using Rows = std::pair<std::int64_t, std::int64_t>;
    EXPECT_EQ(steps.step(), Rows(30, 0));
    steps.add(100, 1000, 50);
    EXPECT_EQ(steps.step(), Rows(256, 226));
    EXPECT_EQ(steps.step(), Rows(256, 226));
    EXPECT_EQ(steps.step(), Rows(256, 226));
    EXPECT_EQ(steps.step(), Rows(256, 226));
    EXPECT_EQ(steps.step(), Rows(126, 96));  // 64 would be less than half of it
    EXPECT_EQ(steps.step(), Rows(31, 0));
    // Two prompts: the second waits in part, then goes on below 64 rows, by tiles of 16.
    steps.add(101, 64, 50);
    steps.add(102, 64, 50);
    EXPECT_EQ(steps.step(), Rows(128, 97));
    EXPECT_EQ(steps.step(), Rows(48, 16));
    EXPECT_EQ(steps.step(), Rows(47, 15));  // one row of 15 is not worth a step
    EXPECT_EQ(steps.step(), Rows(33, 0));
}

TEST(Scheduler, EqualPromptsUseTheSamePages) {
    Steps steps(100, 8);
    // 3 whole pages and 8 tokens; 4 pages whose last holds the last token, which must be read.
    for (int sample = 0; sample < 3; ++sample) steps.add(7, 200, 5);
    for (int sample = 0; sample < 2; ++sample) steps.add(8, 256, 5);
    for (int i = 0; i < 4; ++i) steps.step();
    EXPECT_EQ(steps.scheduler.shared_positions(), 2 * 192 + 192);
    // One that comes later, and one with another beginning.
    steps.add(7, 230, 5);
    steps.add(9, 200, 5);
    EXPECT_EQ(steps.scheduler.shared_positions(), 2 * 192 + 192 + 192);
    while (!steps.scheduler.idle()) steps.step();
    EXPECT_EQ(steps.finished, 7);
    // Nobody has them any more.
    steps.add(7, 200, 5);
    EXPECT_EQ(steps.scheduler.shared_positions(), 2 * 192 + 192 + 192);
}

TEST(Scheduler, SharedPagesLetMoreInAndSurviveTheirFirstUser) {
    // Ten pages: two sequences of 5 pages each, or five that share 4.
    Steps steps(10, 8);
    for (int sample = 0; sample < 5; ++sample) steps.add(7, 257, 3 + 10 * sample);
    steps.step();
    steps.step();
    EXPECT_EQ(steps.scheduler.shared_positions(), 2 * 256);
    int drawing = 0;
    while (!steps.scheduler.idle()) {
        steps.step();
        drawing = std::max(drawing, static_cast<int>(steps.scheduler.drawing().size()));
    }
    EXPECT_EQ(steps.finished, 5);
    EXPECT_GE(drawing, 3);
    EXPECT_EQ(steps.scheduler.shared_positions(), 4 * 256);
    EXPECT_EQ(steps.scheduler.preemptions(), 0);
}

}  // namespace
}  // namespace selvage

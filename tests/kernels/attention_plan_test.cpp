// SPDX-License-Identifier: Apache-2.0
// Attention by a plan, as it is or with its sizes rounded up, against attention by segments: the same bits.
#include "kernels/attention_plan.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "kernels/elements.h"
#include "support/devices.h"
#include "tensor/host_copy.h"

namespace selvage::kernels {
namespace {

using Sizes = AttentionPlan::Sizes;

class Plans : public testing::TestWithParam<char const*> {
  protected:
    void SetUp() override {
        std::string reason;
        device_ = test::find_device(GetParam(), reason);
        if (!device_) GTEST_SKIP() << reason;
        arena_.emplace(*device_);
        stream_ = arena_->stream();
    }
    template <class E>
    Tensor random(Shape shape, std::uint32_t number) {
        Tensor tensor(*arena_, "tensor", DTypeOf<E>::value, shape);
        copy_to_device(tensor, test::random_elements<E>(shape.elements(), number, 3).data(), *stream_);
        return tensor;
    }
    std::vector<std::byte> bytes_of(Tensor const& tensor) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.shape().elements()) *
                                     size_of(tensor.view().dtype()));
        copy_to_host(bytes.data(), tensor, *stream_);
        return bytes;
    }

    template <class E>
    void expect_same(std::int64_t heads, std::int64_t kv_heads);

    std::unique_ptr<Device> device_;
    std::optional<Arena> arena_;
    std::optional<Stream> stream_;
};

// Decoding rows at the ends of pages and splits, and a prompt.
constexpr std::int64_t head_size = 16;
struct Batch {
    std::vector<std::int64_t> lengths, rows;
};

template <class E>
void Plans::expect_same(std::int64_t heads, std::int64_t kv_heads) {
    AttentionPlan plan(*arena_, heads, kv_heads, DTypeOf<E>::value);
    for (Batch const& batch :
         {Batch{{1, 64, 65, 512, 513, 1100}, {1, 1, 1, 1, 1, 1}}, Batch{{3}, {1}}, Batch{{70, 600, 40}, {1, 1, 40}}}) {
        std::int64_t const count = std::accumulate(batch.rows.begin(), batch.rows.end(), std::int64_t{0});
        std::vector<std::vector<std::int32_t>> tables;
        std::int32_t page_count = 0;
        for (std::int64_t const length : batch.lengths) {
            tables.emplace_back(static_cast<std::size_t>((length + kv_page_tokens - 1) / kv_page_tokens));
            for (auto page = tables.back().rbegin(); page != tables.back().rend(); ++page) *page = page_count++;
        }
        std::vector<AttentionSegment> segments;
        std::int64_t row = 0;
        for (std::size_t i = 0; i < tables.size(); row += batch.rows[i++])
            segments.push_back({row, batch.rows[i], batch.lengths[i] - batch.rows[i], tables[i]});
        auto const queries = random<E>({count, heads, head_size}, 1), keys = random<E>({count, kv_heads, head_size}, 2),
                   values = random<E>({count, kv_heads, head_size}, 3);
        // by(store, attend): what is in the pages, and what comes out.
        auto const by = [&](auto const& store, auto const& attend) {
            auto const memory = random<E>({page_count, 2 * kv_heads * head_size * kv_page_tokens}, 4);
            auto const out = random<E>({count, heads, head_size}, 5);
            auto const log_sum_exp = random<float>({count, heads}, 6);
            KvPages const pages{memory, kv_heads, head_size};
            store(pages);
            attend(out.view(), log_sum_exp.view(), pages);
            return std::array{bytes_of(memory), bytes_of(out), bytes_of(log_sum_exp)};
        };
        auto const wanted = by([&](KvPages pages) { store_kv(pages, keys, values, segments, *stream_); },
                               [&](TensorView out, TensorView log_sum_exp, KvPages pages) {
                                   attention_forward(out, log_sum_exp, queries, pages, segments, 0.3F, *stream_);
                               });
        for (Sizes const sizes : {Sizes::exact, Sizes::rounded_up}) {
            plan.make(segments, count, page_count, sizes, *stream_);
            auto const got = by([&](KvPages pages) { store_planned_kv(pages, keys, values, plan, *stream_); },
                                [&](TensorView out, TensorView log_sum_exp, KvPages pages) {
                                    planned_attention_forward(out, log_sum_exp, queries, pages, plan, 0.3F, *stream_);
                                });
            EXPECT_TRUE(got == wanted) << heads << " heads, " << count << " rows";
        }
    }
}

// Groups of heads that make narrow tiles, and wide ones.
TEST_P(Plans, DoWhatSegmentsDo) {
    expect_same<float>(4, 2);
    expect_same<BFloat16>(4, 2);
    expect_same<BFloat16>(20, 1);
}

TEST_P(Plans, OfOtherSequencesHaveTheSameSizesWhereTheyAreRoundedUp) {
    if (device_->kind() == DeviceKind::cpu) return;
    AttentionPlan plan(*arena_, 4, 2, DType::bf16);
    std::vector<std::int32_t> const table(64, 0);
    auto const sizes_of = [&](std::vector<std::int32_t> const& positions) {
        std::vector<AttentionSegment> segments;
        for (std::int32_t const position : positions)
            segments.push_back({static_cast<std::int64_t>(segments.size()), 1, position, table});
        plan.make(segments, static_cast<std::int64_t>(positions.size()), 1, Sizes::rounded_up, *stream_);
        return plan.sizes();
    };
    EXPECT_EQ(sizes_of({0, 1, 2}), sizes_of({511, 63, 64}));
    EXPECT_NE(sizes_of({0, 1, 2}), sizes_of({0, 1}));
    EXPECT_NE(sizes_of({0, 1, 2}), sizes_of({0, 1, 512}));  // whose splits are merged
    EXPECT_EQ(sizes_of({512, 1, 1100}), sizes_of({600, 513, 800}));
    EXPECT_EQ(sizes_of({512, 1, 1100}), sizes_of({1, 2, 2000}));
    std::int64_t const moves = plan.moves();
    sizes_of({512, 1, 1100});
    EXPECT_EQ(plan.moves(), moves);
}

TEST_P(Plans, PagesThatAreNotThereAreRefused) {
    AttentionPlan plan(*arena_, 4, 2, DType::f32);
    std::vector<std::int32_t> const table = {3};
    AttentionSegment const segment{0, 1, 0, table};
    plan.make({&segment, 1}, 1, 4, Sizes::exact, *stream_);
    EXPECT_THROW(plan.make({&segment, 1}, 1, 3, Sizes::exact, *stream_), Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, Plans, testing::Values("cpu", "emulated", "cuda"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage::kernels

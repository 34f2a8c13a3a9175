// SPDX-License-Identifier: Apache-2.0
// That attention's graphs for cuDNN, with the lists of a call, say what attention is: an interpreter in double computes
// them, without cuDNN and without a GPU.
#include <gtest/gtest.h>

#ifdef SELVAGE_CUDNN
#include "kernels/cuda/attention_sequences.h"
#include "kernels/cuda/cudnn_attention_graphs.h"
#include "kernels/cuda/graph_interpreter.h"

namespace selvage::kernels::cuda::cudnn {
namespace {

using test::AttentionBatch;
using test::AttentionCase;
using test::Buffer;
using test::device_pages;
using test::elements;
using test::Floats;
using test::GraphInterpreter;
using test::part;
using test::sequence_of;

class CudnnMeaning : public testing::TestWithParam<AttentionCase> {
  protected:
    AttentionSizes sizes(AttentionBatch const& batch, std::int64_t rows) const {
        return {.heads = c.heads,
                .kv_heads = c.kv_heads,
                .head_size = c.head_size,
                .sequences = 4,  // one more than there are
                .rows = rows,
                .positions = rows,
                .pages = 0,
                .scale = batch.scale};
    }
    void run(AttentionGraph const& attention, AttentionSizes const& sizes, std::span<AttentionSegment const> segments,
             std::map<Id, void*> memory) const {
        AttentionLists lists;
        lists.make(attention.tensors, sizes, segments);
        for (auto const& [tensor, begin] : lists.places) {
            EXPECT_EQ(begin % 4, 0U);
            memory[tensor] = lists.words.data() + begin;
        }
        memory.erase(0);
        auto const* const lengths = static_cast<std::int32_t const*>(memory.at(attention.tensors.lengths));
        auto const* const key_lengths = static_cast<std::int32_t const*>(memory.at(attention.tensors.key_lengths));
        GraphInterpreter(attention.graph, memory, lengths, key_lengths).run();
    }

    AttentionCase const c = GetParam();
};

TEST_P(CudnnMeaning, PackedRows) {
    AttentionBatch const batch(c, {13, 1, 6});
    AttentionSizes const s = sizes(batch, 16);
    Buffer const out(DType::bf16, batch.queries.size(), 0);
    Floats sums(static_cast<std::size_t>(batch.rows * c.heads));
    AttentionGraph const forward = forward_graph(s, true);
    auto const segments = batch.segments();
    std::map<Id, void*> const memory{{forward.tensors.queries, elements(batch.queries)},
                                     {forward.tensors.keys, elements(batch.keys)},
                                     {forward.tensors.values, elements(batch.values)},
                                     {forward.tensors.out, elements(out)},
                                     {forward.tensors.log_sum_exp, sums.data()}};
    run(forward, s, segments, memory);

    Buffer const d_out = d_out_of(batch);
    Buffer const d_queries(DType::bf16, batch.queries.size(), 0xff), d_keys(DType::bf16, batch.keys.size(), 0xff),
        d_values(DType::bf16, batch.keys.size(), 0xff);
    AttentionGraph const backward = backward_graph(s);
    AttentionTensors const& t = backward.tensors;
    run(backward, s, segments,
        {{t.queries, elements(batch.queries)},
         {t.keys, elements(batch.keys)},
         {t.values, elements(batch.values)},
         {t.out, elements(out)},
         {t.log_sum_exp, sums.data()},
         {t.d_out, elements(d_out)},
         {t.d_queries, elements(d_queries)},
         {t.d_keys, elements(d_keys)},
         {t.d_values, elements(d_values)}});

    for (AttentionSegment const& segment : segments) {
        auto const of = [&](Buffer const& all, std::int64_t heads) {
            return part(all, segment.first_row * heads * c.head_size, segment.rows * heads * c.head_size);
        };
        AttentionBatch const one = sequence_of(batch, segment.first_row, segment.rows);
        AttentionBatch::Result const result{of(out, c.heads),
                                            Floats(sums.begin() + segment.first_row * c.heads,
                                                   sums.begin() + (segment.first_row + segment.rows) * c.heads)};
        ASSERT_NO_FATAL_FAILURE(expect_forward(one, result.out, &result.log_sum_exp, 0, "packed"));
        test::PlainGradients const wanted(one, result, of(d_out, c.heads));
        ASSERT_NO_FATAL_FAILURE(wanted.expect_near(
            {of(d_queries, c.heads), of(d_keys, c.kv_heads), of(d_values, c.kv_heads)}, DType::bf16));
    }
}

// The last rows of each sequence, `rows` at most.
TEST_P(CudnnMeaning, LastRowsWithPages) {
    AttentionBatch const batch(c, {70, 1, 130}, true);
    Buffer const pages = device_pages(batch);
    for (std::int64_t const rows : {1, 9}) {
        AttentionSizes s = sizes(batch, rows == 1 ? 1 : 16);
        s.positions = 192;
        s.pages = batch.page_count();
        std::vector<AttentionSegment> last;
        Buffer const queries(DType::bf16, s.sequences * rows * c.heads * c.head_size, 0), out = queries;
        std::int64_t const width = c.heads * c.head_size;
        std::int64_t row = 0;
        for (AttentionSegment const& all : batch.segments()) {
            std::int64_t const count = std::min(rows, all.rows);
            std::memcpy(elements(queries) + row * width,
                        elements(batch.queries) + (all.first_row + all.rows - count) * width,
                        2 * static_cast<std::size_t>(count * width));
            last.push_back({row, count, all.rows - count, all.page_table});
            row += count;
        }
        AttentionGraph const graph = rows == 1 ? decode_graph(s) : forward_graph(s, false);
        run(graph, s, last,
            {{graph.tensors.queries, elements(queries)},
             {graph.tensors.keys, elements(pages)},
             {graph.tensors.values, elements(pages) + c.kv_heads * 64 * c.head_size},
             {graph.tensors.out, elements(out)}});
        for (std::size_t i = 0; i < last.size(); ++i) {
            AttentionSegment const all = batch.segments()[i];
            ASSERT_NO_FATAL_FAILURE(expect_forward(sequence_of(batch, all.first_row, all.rows),
                                                   part(out, last[i].first_row * width, last[i].rows * width), nullptr,
                                                   last[i].first_position, "pages"));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Heads, CudnnMeaning,
                         testing::Values(AttentionCase{2, 2, 16, DType::bf16}, AttentionCase{4, 2, 8, DType::bf16}),
                         [](auto const& info) { return info.param.name(); });

}  // namespace
}  // namespace selvage::kernels::cuda::cudnn
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention as operation graphs of cuDNN. In builds with SELVAGE_CUDNN; private to this folder.
#include "kernels/attention.h"
#include "kernels/cuda/cudnn_graph.h"

namespace selvage::kernels::cuda::cudnn {

// Heads of a rank, and the most that a graph can take of the rest.
struct AttentionSizes {
    std::int64_t heads = 0, kv_heads = 0, head_size = 0;
    std::int64_t sequences = 0;
    std::int64_t rows = 0;       // of a sequence
    std::int64_t positions = 0;  // of a sequence, with those of its keys that are in pages only; with pages whole pages
    std::int64_t pages = 0;      // of the cache; 0: keys and values are packed as queries are
    float scale = 1;
    auto operator<=>(AttentionSizes const&) const = default;
};

// Tensors in memory; 0: the graph has no such tensor. Rows are packed: [rows, heads or kv_heads, head_size] in bf16.
// The offsets [sequences + 1], int32, say where a sequence's first row begins, in elements: of queries (and all of
// their shape), of keys (and theirs) and of log_sum_exp, [rows, heads] in fp32. lengths and key_lengths [sequences],
// int32.
struct AttentionTensors {
    Id queries = 0, keys = 0, values = 0, out = 0, log_sum_exp = 0;
    Id query_offsets = 0, key_offsets = 0, row_offsets = 0;
    Id lengths = 0, key_lengths = 0;
    Id page_table = 0;  // [sequences, positions / 64], int32
    // Of the backward pass. Working memory in fp32 of so many elements a row: heads, heads head_size. The sums of
    // queries must be zero before. Where heads share keys, also in bf16: heads head_size.
    Id d_queries = 0, d_keys = 0, d_values = 0, d_out = 0;
    Id deltas = 0, query_sums = 0, head_d_keys = 0, head_d_values = 0;
};

struct AttentionGraph {
    Graph graph;
    AttentionTensors tensors;
};

// out and, where asked for, log_sum_exp of packed queries. Keys and values are packed, as of sequences that begin with
// their first row, or in pages, and then a sequence's rows are its last positions.
AttentionGraph forward_graph(AttentionSizes const& sizes, bool with_log_sum_exp);

// One row of each sequence, in order, without offsets; keys and values in pages.
AttentionGraph decode_graph(AttentionSizes const& sizes);

// The gradients of a forward pass over packed keys and values.
AttentionGraph backward_graph(AttentionSizes const& sizes);

// Lengths, offsets and page tables of a call. Sequences that are not there are empty and lie at the end; entries of
// page tables that nothing is read by name page 0.
struct AttentionLists {
    std::vector<std::int32_t> words;                 // of all, in one piece
    std::vector<std::pair<Id, std::size_t>> places;  // where a tensor's begin, aligned to 16 bytes

    // `segments` have rows, lie one behind the other, and are no more than there may be sequences.
    void make(AttentionTensors const& tensors, AttentionSizes const& sizes, std::span<AttentionSegment const> segments);

  private:
    std::int32_t* add(Id tensor, std::int64_t count);  // zeros; until the next one
};

}  // namespace selvage::kernels::cuda::cudnn

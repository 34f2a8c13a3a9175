// SPDX-License-Identifier: Apache-2.0
#pragma once
// Causal grouped-query attention over paged keys and values, one definition for prefill, decode and training.
// Keys count from the example's first token. They are taken in splits of 512; inside a split in blocks of 64, in order,
// with online softmax from a fresh state; splits merge in order. Blocks are full width: masked scores give exact zeros
// and unwritten keys and values are masked on load. Dao et al. 2022 for the recurrence.
#include <cstdint>
#include <span>

#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels {

constexpr std::int64_t kv_page_tokens = 64;
constexpr std::int64_t kv_split_tokens = 512;

// Keys and values of one layer: page p holds 64 consecutive positions of one sequence, keys, then as many elements of
// values. Slots not written may hold anything. On the CPU keys lie transposed as [kv_heads][head_size][64], values as
// [kv_heads][64][head_size]; in bf16 in pairs for the products: keys as [kv_heads][4][head_size / 2][16][2], values as
// [kv_heads][32][head_size][2]. On a GPU both lie as [kv_heads][64][head_size]; in bf16 head_size is a multiple of 8.
struct KvPages {
    TensorView pages;  // [page_count, 2 * kv_heads * head_size * 64]
    std::int64_t kv_heads = 0;
    std::int64_t head_size = 0;
    // What the rows of a call of attention_forward() have stored, [rows, kv_heads, head_size], where it is at hand: may
    // be read in the place of the pages, and is by cuDNN.
    TensorView new_keys = {}, new_values = {};
};

// Consecutive rows of a batch that are consecutive positions of one sequence.
struct AttentionSegment {
    std::int64_t first_row = 0;
    std::int64_t rows = 0;
    std::int64_t first_position = 0;           // position of first_row in its sequence
    std::span<std::int32_t const> page_table;  // page_table[i] holds positions 64 i .. 64 i + 63; borrowed for the call
};

// scale multiplies the scores, usually 1/sqrt(head_size). With a softcap a score s then becomes softcap tanh(s /
// softcap) (Gemma 2). With a window a row sees that many keys at most, its own the last (Child et al. 2019); pages that
// no row of a tile sees are skipped, which changes no bits.
struct AttentionOptions {
    AttentionOptions(float scale_, float softcap_ = 0, std::int64_t window_ = 0)
        : scale(scale_), softcap(softcap_), window(window_) {}
    float scale;
    float softcap;        // 0: none
    std::int64_t window;  // 0: all keys
};

// Writes keys and values [rows, kv_heads, head_size] of the segments into their pages.
void store_kv(KvPages pages, TensorView keys, TensorView values, std::span<AttentionSegment const> segments,
              Stream& stream);

// out[rows, heads, head_size] for queries of the same shape; row r sees the positions 0 .. its own (with a window the
// last of them), all stored before. log_sum_exp[rows, heads] is kept for the backward pass (may be empty).
void attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                       std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream);

// Gradients of whole sequences (first_position = 0): d_queries, d_keys, d_values overwritten, in the shapes of queries
// [rows, heads, head_size] and keys, values [rows, kv_heads, head_size]. The order of sums depends on the segment
// alone.
void attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                        TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                        std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream);

}  // namespace selvage::kernels

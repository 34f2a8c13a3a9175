// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention on the device: the work lists that the host makes, and what the kernels of each element type are given.
#include <cstdint>

#include "device/cuda/launch.h"
#include "device/stream.h"
#include "kernels/attention_plan.h"

namespace selvage::kernels::cuda {

constexpr int page_tokens = static_cast<int>(kv_page_tokens);
constexpr int split_pages = static_cast<int>(kv_split_tokens / kv_page_tokens);

// Up to 64 (wide) or 16 (narrow) consecutive pairs (row, head of a key-value head's group) of one segment, the heads of
// a row one after the other. The rows of a tile lie in one page, so they all see the same pages. A tile takes the keys
// of some pages: all that its rows see, or those of one split.
struct ForwardTile {
    std::int32_t first_row;       // of the segment in the batch
    std::int32_t first_position;  // of the segment
    std::int32_t stored;          // positions from here on have no keys and values
    std::int32_t table;           // where the segment's page table begins in the array of all
    std::int32_t first_pair;
    std::int32_t pairs;
    std::int32_t first_page, end_page;
    std::int32_t state;  // pairs in the states before this split's, or -1: the output is written
};
constexpr int wide_pairs = 64;
constexpr int narrow_pairs = 16;

// AttentionOptions as kernels read them.
struct ScoreOptions {
    float scale;
    float softcap;  // 0: none
    int window;     // keys that a row sees, its own the last

    // The first key that a position sees.
    __host__ __device__ int first_key(int position) const { return position < window ? 0 : position + 1 - window; }
    // Whether kernels have to do more than to scale scores and to mask later keys.
    bool special() const { return softcap != 0 || window != all_keys; }
    static constexpr int all_keys = 0x7fffffff;
};
inline ScoreOptions score_options(AttentionOptions const& options) {
    bool const all = options.window == 0 || options.window >= ScoreOptions::all_keys;
    return {options.scale, options.softcap, all ? ScoreOptions::all_keys : static_cast<int>(options.window)};
}

template <class E>
struct ForwardWork {
    E* out;
    float* log_sum_exp;  // may be null
    E const* queries;
    E const* pages;
    std::int32_t const* page_tables;
    ForwardTile const* tiles;
    float* states;
    int heads, kv_heads, head_size;
    float scale;  // of what is left of scores, capped or not, times log2(e)
    ScoreOptions scores;
};

// Tiles to merge name all pages and the first of the states. Tiles without pairs do nothing.
using ForwardCounts = AttentionSizes;

// Head sizes as the bf16 kernels are compiled for them: the next larger one, the rest filled with zeros.
constexpr int padded_heads[] = {16, 32, 64, 80, 96, 128, 256};
constexpr int padded_head(int head_size) {
    for (int const head : padded_heads)
        if (head_size <= head) return head;
    return 0;
}
// A split's state, for each key-value head: values, then largest scores and sums of the pairs.
__host__ __device__ constexpr std::int64_t state_floats(std::int64_t pairs, int head) { return pairs * (head + 2); }

void launch_forward(ForwardWork<BFloat16> const& work, ForwardCounts const& counts, Stream& stream);
void launch_forward(ForwardWork<float> const& work, ForwardCounts const& counts, Stream& stream);

// 64 rows of a segment: block `index`.
struct BackwardBlock {
    std::int32_t first_row;
    std::int32_t rows;  // of the segment
    std::int32_t index;
};

template <class E>
struct BackwardWork {
    E* d_queries;
    E* d_keys;
    E* d_values;
    E const* d_out;
    float const* log_sum_exp;
    float const* delta;  // [rows, heads], sums of d_out out
    E const* queries;
    E const* keys;
    E const* values;
    BackwardBlock const* blocks;
    int heads, kv_heads, head_size;
    ScoreOptions scores;
};

void launch_backward(BackwardWork<BFloat16> const& work, unsigned blocks, Stream& stream);
void launch_backward(BackwardWork<float> const& work, unsigned blocks, Stream& stream);

}  // namespace selvage::kernels::cuda

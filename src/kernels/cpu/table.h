// SPDX-License-Identifier: Apache-2.0
#pragma once
// The loops that are compiled once per instruction set (isa/*.cpp): raw pointers, one thread, no allocation. Every
// table gives the same bits. "row" functions work on rows of contiguous floats.
#include <cstdint>

#include "tensor/dtype.h"

namespace selvage::kernels {

// One tile of a matrix product: c[i, j] = (or +=) sum over k of a(i, k) b(k, j) (+ bias[j]).
struct ProductTile {
    float* c = nullptr;
    std::int64_t c_stride = 0;
    float const* a = nullptr;  // a(i, k) = a[i * a_row + k * a_k]
    std::int64_t a_row = 0;
    std::int64_t a_k = 0;
    float const* b = nullptr;  // b(k, j) = b[k * b_stride + j]; a whole panel's width must be readable
    std::int64_t b_stride = 0;
    float const* bias = nullptr;
    std::int64_t rows = 0;
    std::int64_t columns = 0;  // at most the panel's width
    std::int64_t k = 0;
    std::int64_t k_block = 0;
    bool add = false;
};

// A tile of queries of one or, for bf16, more key-value heads, all in one page: query i of head h has index
// h * queries + i and is at position[i] of its sequence, ascending.
template <class T>
struct AttentionTile {
    static constexpr std::int64_t max_queries = 16;  // of all heads; for floats at most the table's tile_rows
    T* out[max_queries];
    float* log_sum_exp[max_queries];  // null: not kept
    T const* query[max_queries];
    std::int64_t position[max_queries];
    std::int64_t queries = 0;  // of each head
    std::int64_t heads = 1;
    std::int64_t stored = 0;   // positions of the sequence that its pages hold
    T const* pages = nullptr;  // page p of the first head: keys at pages + p * page_size, values at + values_offset
    std::int64_t page_size = 0;
    std::int64_t values_offset = 0;
    std::int32_t const* page_table = nullptr;
    std::int64_t head_size = 0;
    float scale = 1;
};

// Running softmax of a tile after a split: as floats, at a cache line.
constexpr std::int64_t attention_state_floats = 16 * (4 + 256);

template <class T>
struct AttentionKernels {
    void (*tile)(AttentionTile<T> const&);
    // The same in parts: the state after split `index`; outputs from the states of all splits.
    void (*split)(AttentionTile<T> const&, std::int64_t index, float* state);
    void (*merge)(AttentionTile<T> const&, float const* states);
};

// The backward pass of one sequence and one key-value head, in blocks of 64 rows and 64 keys. Strides are between rows.
template <class T>
struct AttentionBackward {
    T* d_queries = nullptr;  // first head of the group; the others follow
    T* d_keys = nullptr;
    T* d_values = nullptr;
    T const* d_out = nullptr;
    T const* out = nullptr;
    float const* log_sum_exp = nullptr;
    T const* queries = nullptr;
    T const* keys = nullptr;
    T const* values = nullptr;
    float* packed = nullptr;     // AttentionPacked::floats(), at a cache line; shared by all blocks
    float* workspace = nullptr;  // AttentionPacked::workspace_floats(), at a cache line; of one block of keys
    std::int64_t rows = 0;
    std::int64_t query_stride = 0;  // heads * head_size
    std::int64_t key_stride = 0;    // kv_heads * head_size
    std::int64_t heads = 0;         // stride of log_sum_exp
    std::int64_t group = 0;
    std::int64_t head_size = 0;
    float scale = 1;
};

// What the backward pass keeps of each block, in floats: the keys three ways; for each head of the group its queries
// and d_out (bf16: two ways), sums of rows, and d_queries.
template <class T>
struct AttentionPacked {
    std::int64_t depth;  // head_size padded to whole vectors, to whole tiles for bf16
    std::int64_t blocks;
    std::int64_t group;
    constexpr AttentionPacked(std::int64_t head_size, std::int64_t rows, std::int64_t heads)
        : depth((head_size + step - 1) / step * step), blocks((rows + 63) / 64), group(heads) {}
    constexpr std::int64_t keys_floats() const { return 3 * matrix(); }
    constexpr std::int64_t rows_floats() const { return (halves ? 4 : 2) * matrix() + 64 * depth + 2 * 64; }
    constexpr std::int64_t rows_offset(std::int64_t head, std::int64_t index) const {
        return blocks * keys_floats() + (head * blocks + index) * rows_floats();
    }
    constexpr std::int64_t floats() const { return rows_offset(group, 0); }
    constexpr std::int64_t workspace_floats() const {
        return 2 * 64 * depth + 2 * 64 * 64 + (halves ? 3 * 32 * 64 : 0);
    }

  private:
    static constexpr bool halves = sizeof(T) == 2;
    static constexpr std::int64_t step = halves ? 32 : 16;
    constexpr std::int64_t matrix() const { return (halves ? 32 : 64) * depth; }
};

// For one block of keys: begin, its blocks of rows from the diagonal on, one head after the other, end. A block of rows
// takes its blocks of keys in ascending order.
template <class T>
struct AttentionBackwardKernels {
    // Packs block `index` of keys and, for all heads, of rows.
    void (*pack)(AttentionBackward<T> const&, std::int64_t index);
    void (*begin_keys)(AttentionBackward<T> const&);
    void (*row_blocks)(AttentionBackward<T> const&, std::int64_t key_index, std::int64_t head, std::int64_t first_row,
                       std::int64_t end_row);
    // Writes the gradients of a block of keys, and of its rows.
    void (*end_keys)(AttentionBackward<T> const&, std::int64_t key_index);
};

struct AdamWConstants {
    float gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, first_correction, second_correction, epsilon,
        weight_decay, learning_rate;
};

struct KernelTable {
    char const* name = nullptr;
    // Products
    std::int64_t panel = 0;      // columns of a panel of packed weights
    std::int64_t tile_rows = 0;  // rows that one pass over a panel serves
    void (*product_tile)(ProductTile const&);
    // panel[k, j] = b[k * k_stride + j * n_stride], j < columns; zeros up to the panel's width.
    void (*pack_panel)(float* panel, float const* b, std::int64_t k_stride, std::int64_t n_stride, std::int64_t k,
                       std::int64_t columns);
    // Attention
    AttentionKernels<float> attention;
    AttentionKernels<BFloat16> attention_bf16;
    AttentionBackwardKernels<float> attention_backward;
    AttentionBackwardKernels<BFloat16> attention_backward_bf16;
    // Keys or values [count, size] of consecutive tokens of one head into the layout of a page, from `slot` on.
    void (*store_keys)(float* to, float const* from, std::int64_t stride, std::int64_t slot, std::int64_t count,
                       std::int64_t size);
    void (*store_keys_bf16)(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t slot,
                            std::int64_t count, std::int64_t size);
    void (*store_values_bf16)(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t slot,
                              std::int64_t count, std::int64_t size);
    // Softmax
    float (*row_log_sum_exp)(float const* logits, std::int64_t n);
    float (*row_max)(float const* x, std::int64_t n);
    void (*row_softmax_gradient)(float* logits, float log_sum_exp, std::int64_t target, float weight, std::int64_t n);
    void (*row_fixed_point)(std::int64_t* out, float const* logits, float max, float temperature, std::int64_t n);
    // Norms
    float (*row_rmsnorm)(float* out, float const* in, float const* weight, float epsilon, std::int64_t n);
    void (*row_rmsnorm_backward)(float* d_in, float const* d_out, float const* in, float const* weight, float rstd,
                                 std::int64_t n);
    void (*row_layernorm)(float* out, float* mean, float* rstd, float const* in, float const* weight, float const* bias,
                          float epsilon, std::int64_t n);
    void (*row_layernorm_backward)(float* d_in, float const* d_out, float const* in, float const* weight, float mean,
                                   float rstd, std::int64_t n);
    // to[j] += d_out[j] * ((in[j] - mean) * rstd)
    void (*row_weight_gradient)(float* to, float const* d_out, float const* in, float mean, float rstd, std::int64_t n);
    // Element by element
    void (*gated_forward)(float* out, float const* gate, float const* up, bool gelu, std::int64_t n);
    void (*gated_backward)(float* d_gate, float* d_up, float const* d_out, float const* gate, float const* up,
                           bool gelu, std::int64_t n);
    void (*gelu_forward)(float* out, float const* in, std::int64_t n);
    void (*gelu_backward)(float* d_in, float const* d_out, float const* in, std::int64_t n);
    void (*add)(float* to, float const* from, std::int64_t n);
    // x1, x2 = x1 c - x2 s, x2 c + x1 s for n pairs
    void (*rotate)(float* x1, float* x2, float const* cosine, float const* sine, float sign, std::int64_t n);
    void (*adamw)(float* values, float* first, float* second, float const* gradient, AdamWConstants const& c,
                  std::int64_t n);
    double (*sum_of_squares)(float const* x, std::int64_t n);
    void (*row_exp)(float* out, float const* in, std::int64_t n);
    void (*row_log)(float* out, float const* in, std::int64_t n);
};

// The table of this process: the best that the processor has, or what DNNL_MAX_CPU_ISA allows (SSE41: portable; AVX,
// AVX2...: avx2), so that any machine can run each.
KernelTable const& kernel_table();
// By name, for tests; null where this build or processor does not have it.
KernelTable const* kernel_table(char const* name);

}  // namespace selvage::kernels

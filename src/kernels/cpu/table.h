// SPDX-License-Identifier: Apache-2.0
#pragma once
// The loops that are compiled once per instruction set (isa/*.cpp): raw pointers, one thread, no allocation. Every
// table gives the same bits. "row" functions work on rows of contiguous floats.
#include <cstdint>
#include <type_traits>

#include "kernels/block_sum.h"
#include "kernels/gate.h"
#include "kernels/norm_pointers.h"
#include "tensor/dtype.h"

namespace selvage::kernels {

// One tile of a matrix product: c[i, j] = (or +=) sum over k of a(i, k) b(k, j) (+ bias[j]).
struct ProductTile {
    static constexpr std::int64_t most_rows = 192;
    float* c = nullptr;
    std::int64_t c_stride = 0;
    // a(i, k) = a[i * a_row + k]; or in tiles of tile_rows rows, which are a_row elements apart, as [k][tile_rows].
    float const* a = nullptr;
    std::int64_t a_row = 0;
    bool a_tiles = false;
    float const* b = nullptr;     // a panel
    float const* next = nullptr;  // a panel to be fetched meanwhile; or null
    float const* bias = nullptr;
    std::int64_t rows = 0;     // at most most_rows
    std::int64_t columns = 0;  // at most the panel's width
    std::int64_t k = 0;
    std::int64_t k_block = 0;
    bool add = false;
};

// Packed operands of bfloat16 products, k padded with zeros to whole steps. a: groups of 16 rows, a group as
// [k / 32][16][32]. b: panels of 64 columns, a panel as [k / 2][64][2].
struct Bf16Forms {
    static constexpr std::int64_t panel = 64;
    static constexpr std::int64_t group = 16;
    static constexpr std::int64_t step = 32;
    static constexpr std::int64_t padded(std::int64_t k) { return (k + step - 1) / step * step; }
    static constexpr std::int64_t group_rows(std::int64_t rows) { return (rows + group - 1) / group * group; }
};

// sums [16 groups][64] = (first) or += a b.
struct Bf16Panel {
    float* sums = nullptr;
    BFloat16 const* a = nullptr;
    BFloat16 const* b = nullptr;
    BFloat16 const* next = nullptr;  // what will be read after b (as many bytes), or null
    std::int64_t rows = 0;           // of 16 groups, the others are padding
    std::int64_t groups = 0;
    std::int64_t k = 0;        // whole steps
    std::int64_t k_block = 0;  // of the order by pairs
    bool first = true;
};

// The two orders of sums, see kernels/README.md.
enum class Bf16Order : std::uint8_t { pairs, tiles };

// A window that ends nowhere.
constexpr std::int64_t all_keys = std::int64_t{1} << 40;

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
    float softcap = 0;               // 0: none
    std::int64_t window = all_keys;  // keys that a query sees, its own the last
};

// Running softmax of a tile after a split: as floats, at a cache line.
constexpr std::int64_t attention_state_floats = 16 * (4 + 256);

template <class T>
struct AttentionKernels {
    void (*tile)(AttentionTile<T> const&);
    // The same in parts: the state after split `index`; outputs from the states of the splits from the first one on
    // that a query sees.
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
    float softcap = 0;  // as AttentionTile's
    std::int64_t window = all_keys;

    // Blocks of keys before this one are seen by no row of a block of rows.
    std::int64_t first_keys(std::int64_t row_index) const {
        std::int64_t const first = row_index * 64 - window + 1;
        return first < 0 ? 0 : first / 64;
    }
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

// Sampling weights of one row: floor(exp((logit - max) / temperature) 2^40), whole numbers that floats hold exactly.
struct WeightsOfRow {
    float const* logits = nullptr;
    std::int64_t n = 0;
    float max = 0;
    float temperature = 1;
    // The sum of each block of 1024 (null: not wanted).
    std::int64_t* block_totals = nullptr;
    // n rounded up to whole vectors of 16, zeros behind n (null: not kept).
    float* weights = nullptr;
    // 16 for each block: the largest of the block's weights at places of equal remainder by 16 (null: not wanted).
    float* lane_maxima = nullptr;
};

// Begin and end.
struct Span {
    std::int64_t begin = 0;
    std::int64_t end = 0;
};

// The loops over activations of type E, float or BFloat16: what is read is widened, what is written is rounded.
template <class E>
struct ElementKernels {
    void (*rmsnorm)(NormForward<E> const&, Span rows);
    void (*layernorm)(NormForward<E> const&, Span rows);
    // d_in alone
    void (*rmsnorm_backward)(NormBackward<E> const&, Span rows);
    void (*layernorm_backward)(NormBackward<E> const&, Span rows);
    // d_weight and, where there is one, d_bias; row after row
    void (*rmsnorm_weight_gradient)(NormBackward<E> const&, Span rows, Span columns);
    // RMS norm of rows in E
    void (*head_norm)(NormForward<E, E> const&, Span rows);
    void (*head_norm_backward)(NormBackward<E, E> const&, Span rows);
    void (*head_norm_weight_gradient)(NormBackward<E, E> const&, Span rows, Span columns);
    void (*layernorm_weight_gradient)(NormBackward<E> const&, Span rows, Span columns);

    void (*gated_forward)(E* out, E const* gate, E const* up, Gate function, std::int64_t n);
    void (*gated_backward)(E* d_gate, E* d_up, E const* d_out, E const* gate, E const* up, Gate function,
                           std::int64_t n);
    void (*gelu_forward)(E* out, E const* in, Gelu form, std::int64_t n);
    void (*gelu_backward)(E* d_in, E const* d_out, E const* in, Gelu form, std::int64_t n);
    void (*softcap_backward)(E* d_x, float const* capped, float cap, std::int64_t n);
    // For each head: x1, x2 = x1 c - x2 s, x2 c + x1 s, where x1 are the first `half` values and x2 the next.
    void (*rotate)(E* x, float const* cosine, float const* sine, float sign, std::int64_t heads, std::int64_t head_size,
                   std::int64_t half);
    // sums[j] += rows[i * stride + j] for j < n, row after row
    void (*add_rows)(float* sums, E const* rows, std::int64_t count, std::int64_t stride, std::int64_t n);
    // d_logits = (exp(logits - log_sum_exp) - onehot(target)) * weight; a target outside 0 .. n - 1 is none
    void (*row_cross_entropy_backward)(E* d_logits, float const* logits, float log_sum_exp, std::int64_t target,
                                       float weight, std::int64_t n);
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
    // Tiles as ProductTile has them, k * tile_rows apart, of a(i, k) = a[k * stride + i].
    void (*pack_tiles)(float* tiles, float const* a, std::int64_t stride, std::int64_t rows, std::int64_t k);
    // Products of bfloat16; strides are between rows of memory.
    Bf16Order bf16_order = Bf16Order::pairs;
    void (*bf16_product)(Bf16Panel const&);
    // Packs a(i, k) = from[i * stride + k], or columns: from[k * stride + i].
    void (*bf16_pack_rows)(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t rows, std::int64_t k);
    void (*bf16_pack_columns)(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t rows,
                              std::int64_t k);
    // Packs a panel of b(k, j) = from[k * stride + j], or transposed: from[j * stride + k]; j < columns.
    void (*bf16_pack_panel)(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t k,
                            std::int64_t columns);
    void (*bf16_pack_panel_of_floats)(BFloat16* to, float const* from, std::int64_t stride, std::int64_t k,
                                      std::int64_t columns);
    void (*bf16_pack_panel_transposed)(BFloat16* to, float const* from, std::int64_t stride, std::int64_t k,
                                       std::int64_t columns);
    // c = (or +=) sums (+ bias) for rows and columns that exist.
    void (*bf16_finish)(BFloat16* c, std::int64_t stride, float const* sums, float const* bias, bool add,
                        std::int64_t rows, std::int64_t columns);
    void (*bf16_finish_floats)(float* c, std::int64_t stride, float const* sums, float const* bias, bool add,
                               std::int64_t rows, std::int64_t columns);
    // to[i * stride + j] = sums [rows][64], past the caches; `to` aligned to 64 bytes.
    void (*copy_through)(float* to, std::int64_t stride, float const* sums, std::int64_t rows);
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
    // The same, and the largest of the first `ids` logits.
    float (*row_log_sum_exp_max)(float const* logits, std::int64_t n, std::int64_t ids, float* max);
    // The same in parts: what each block adds; log-sum-exp from all blocks.
    void (*row_block_sums)(BlockSum* sums, float const* logits, std::int64_t n, std::int64_t ids, float* max);
    float (*merge_block_sums)(BlockSum const* sums, std::int64_t count);
    // The first of the largest.
    std::int64_t (*row_argmax)(float const* x, std::int64_t n);
    // Sampling
    void (*row_weights)(WeightsOfRow const&);
    // Sum (and number) of the weights that are not below `bound`; `weights` as row_weights leaves them.
    std::int64_t (*sum_at_least)(float const* weights, float bound, std::int64_t n, std::int64_t* count);
    // The ids, ascending, of the weights in [low, high); returns their number.
    std::int64_t (*select_between)(std::int32_t* ids, float const* weights, float low, float high, std::int64_t n);
    // Element by element
    void (*add)(float* to, float const* from, std::int64_t n);
    void (*scale)(float* x, float factor, std::int64_t n);
    void (*softcap)(float* x, float cap, std::int64_t n);
    void (*fill)(float* out, float value, std::int64_t n);
    void (*fill_streaming)(float* out, float value, std::int64_t n);  // past the caches; out aligned to 64 bytes
    void (*narrow)(BFloat16* out, float const* in, std::int64_t n);
    void (*widen)(float* out, BFloat16 const* in, std::int64_t n);
    void (*adamw)(float* values, float* first, float* second, float const* gradient, AdamWConstants const& c,
                  std::int64_t n);
    double (*sum_of_squares)(float const* x, std::int64_t n);
    void (*row_exp)(float* out, float const* in, std::int64_t n);
    void (*row_log)(float* out, float const* in, std::int64_t n);

    ElementKernels<float> f32;
    ElementKernels<BFloat16> bf16;
    template <class E>
    ElementKernels<E> const& of() const {
        if constexpr (std::is_same_v<E, float>)
            return f32;
        else
            return bf16;
    }
};

// The table of this process: the best that the processor has, or what DNNL_MAX_CPU_ISA allows (SSE41: portable; AVX,
// AVX2...: avx2), so that any machine can run each.
KernelTable const& kernel_table();
// By name, for tests; null where this build or processor does not have it.
KernelTable const* kernel_table(char const* name);

}  // namespace selvage::kernels

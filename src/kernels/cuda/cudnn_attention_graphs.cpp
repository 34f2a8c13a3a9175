// SPDX-License-Identifier: Apache-2.0
// The graphs are those that the library knows as attention: it looks for these operations in this order. They follow
// NVIDIA's own C++ interface to it (cudnn-frontend), which builds the same from the parts.
#ifdef SELVAGE_CUDNN
#include "kernels/cuda/cudnn_attention_graphs.h"

#include <limits>

#include "kernels/attention_arguments.h"

namespace selvage::kernels::cuda::cudnn {
namespace {

constexpr auto bf16 = CUDNN_DATA_BFLOAT16;
constexpr auto f32 = CUDNN_DATA_FLOAT;
constexpr auto i32 = CUDNN_DATA_INT32;

Four swapped(Four const& four) { return {four[0], four[1], four[3], four[2]}; }

class Builder {
  public:
    explicit Builder(AttentionSizes const& sizes) : s_(sizes) {}
    AttentionGraph take() { return {std::move(graph_), tensors_}; }

    void forward(bool with_log_sum_exp) {
        add_lengths();
        add_offsets(with_log_sum_exp);
        tensors_.queries = rows(s_.heads, tensors_.query_offsets);
        tensors_.out = rows(s_.heads, tensors_.query_offsets);
        if (with_log_sum_exp) tensors_.log_sum_exp = statistic();
        attend(true);
    }
    void decode() {
        add_lengths();
        tensors_.queries = rows(s_.heads, 0);
        tensors_.out = rows(s_.heads, 0);
        attend(false);
    }
    void backward();

  private:
    Four scores() const { return {s_.sequences, s_.heads, s_.rows, s_.positions}; }
    Four of_rows() const { return {s_.sequences, s_.heads, s_.rows, 1}; }

    void add_lengths() {
        tensors_.lengths = graph_.tensor(i32, {s_.sequences, 1, 1, 1});
        tensors_.key_lengths = graph_.tensor(i32, {s_.sequences, 1, 1, 1});
    }
    void add_offsets(bool of_statistics) {
        Four const sizes{s_.sequences + 1, 1, 1, 1};
        tensors_.query_offsets = graph_.tensor(i32, sizes);
        if (s_.pages == 0) tensors_.key_offsets = graph_.tensor(i32, sizes);
        if (of_statistics) tensors_.row_offsets = graph_.tensor(i32, sizes);
    }
    Four row_strides(std::int64_t heads) const {
        return {s_.rows * heads * s_.head_size, s_.head_size, heads * s_.head_size, 1};
    }
    Four row_sizes(std::int64_t heads) const { return {s_.sequences, heads, s_.rows, s_.head_size}; }
    // A tensor [rows, heads, head_size].
    Id rows(std::int64_t heads, Id offsets, cudnnDataType_t type = bf16) {
        return graph_.add({type, row_sizes(heads), row_strides(heads), offsets});
    }
    // The same with rows as columns, as products take their second operand.
    Id columns(std::int64_t heads, Id offsets) {
        return graph_.add({bf16, swapped(row_sizes(heads)), swapped(row_strides(heads)), offsets});
    }
    // A tensor [rows, heads] in fp32.
    Id statistic() { return graph_.add({f32, of_rows(), {s_.rows * s_.heads, 1, s_.heads, 1}, tensors_.row_offsets}); }

    Id add_pages() {
        std::int64_t const page = kv_page_tokens * s_.head_size;
        return graph_.add({bf16,
                           {s_.pages, s_.kv_heads, kv_page_tokens, s_.head_size},
                           {2 * s_.kv_heads * page, page, s_.head_size, 1}});
    }
    Id loaded(Id pages, bool transposed) {
        GraphTensor to{bf16, {s_.sequences, s_.kv_heads, s_.positions, s_.head_size}, {}, 0, true};
        to.strides = packed(to.sizes);
        if (transposed) to.sizes = swapped(to.sizes), to.strides = swapped(to.strides);
        return graph_.load_pages(pages, tensors_.key_lengths, tensors_.page_table, graph_.add(to));
    }

    Id minus_infinity() { return graph_.constant(-std::numeric_limits<float>::infinity()); }
    Id without_padding(Id x);
    Id causal(Id x);
    Id softmax(Id x);
    void attend(bool causally);
    Id transposed(Id x);
    Id sum_of_group(Id weights, Id other, Id& of_heads, Id gradient);

    AttentionSizes s_;
    Graph graph_;
    AttentionTensors tensors_;
};

// Minus infinity beyond a sequence's rows and positions.
Id Builder::without_padding(Id x) {
    Id const row = graph_.index(i32, x, 2);
    Id const column = graph_.index(i32, x, 3);
    Id const row_is = graph_.compare(CUDNN_POINTWISE_CMP_LT, row, tensors_.lengths);
    Id const column_is = graph_.compare(CUDNN_POINTWISE_CMP_LT, column, tensors_.key_lengths);
    Id const both = graph_.compare(CUDNN_POINTWISE_LOGICAL_AND, row_is, column_is);
    return graph_.pointwise(CUDNN_POINTWISE_BINARY_SELECT, x, minus_infinity(), both);
}

// Minus infinity where a row must not look: its last position is its own.
Id Builder::causal(Id x) {
    Id row = graph_.index(f32, x, 2);
    Id const column = graph_.index(f32, x, 3);
    if (s_.pages > 0) {
        row = graph_.integers(CUDNN_POINTWISE_ADD, row, tensors_.key_lengths);
        row = graph_.integers(CUDNN_POINTWISE_SUB, row, tensors_.lengths);
    }
    Id const sees = graph_.compare(CUDNN_POINTWISE_CMP_GE, row, column);
    return graph_.pointwise(CUDNN_POINTWISE_BINARY_SELECT, x, minus_infinity(), sees);
}

Id Builder::softmax(Id x) {
    Id const largest = graph_.reduce(CUDNN_REDUCE_TENSOR_MAX, x, graph_.inner(f32, of_rows()));
    Id const weights = graph_.pointwise(CUDNN_POINTWISE_EXP, graph_.pointwise(CUDNN_POINTWISE_SUB, x, largest));
    Id const sum = graph_.reduce(CUDNN_REDUCE_TENSOR_ADD, weights, graph_.inner(f32, of_rows()));
    // The library knows the graph by these two, wanted or not.
    Id const logarithm = graph_.pointwise(CUDNN_POINTWISE_LOG, sum);
    graph_.pointwise(CUDNN_POINTWISE_ADD, largest, logarithm, 0, tensors_.log_sum_exp);
    return graph_.pointwise(CUDNN_POINTWISE_DIV, weights, sum, 0, graph_.inner(bf16, scores()));
}

void Builder::attend(bool causally) {
    Id keys = 0;
    if (s_.pages > 0) {
        tensors_.page_table = graph_.tensor(i32, {s_.sequences, 1, s_.positions / kv_page_tokens, 1});
        tensors_.keys = add_pages();
        keys = loaded(tensors_.keys, true);
    } else {
        keys = tensors_.keys = columns(s_.kv_heads, tensors_.key_offsets);
    }
    Id x =
        graph_.product(tensors_.queries, keys, graph_.inner(f32, scores()), tensors_.lengths, tensors_.key_lengths, 0);
    x = graph_.pointwise(CUDNN_POINTWISE_MUL, x, graph_.constant(s_.scale));
    x = without_padding(x);
    if (causally) x = causal(x);
    Id const weights = softmax(x);
    Id values = 0;
    if (s_.pages > 0) {
        tensors_.values = add_pages();
        values = loaded(tensors_.values, false);
    } else {
        values = tensors_.values = rows(s_.kv_heads, tensors_.key_offsets);
    }
    graph_.product(weights, values, tensors_.out, tensors_.lengths, 0, tensors_.key_lengths);
}

// Scores [rows, positions] as bf16 [positions, rows].
Id Builder::transposed(Id x) {
    return graph_.reshape(x, graph_.add({bf16, swapped(scores()), swapped(packed(scores())), 0, true}));
}

// gradient = weights other, summed over the heads that share a key.
Id Builder::sum_of_group(Id weights, Id other, Id& of_heads, Id gradient) {
    if (s_.heads == s_.kv_heads)
        return graph_.product(weights, other, gradient, tensors_.key_lengths, 0, tensors_.lengths);
    // The library scales the offsets as the strides are: heads / kv_heads times those of keys.
    of_heads = rows(s_.heads, tensors_.key_offsets);
    graph_.product(weights, other, of_heads, tensors_.key_lengths, 0, tensors_.lengths);
    return graph_.reduce(CUDNN_REDUCE_TENSOR_ADD, of_heads, gradient);
}

void Builder::backward() {
    AttentionTensors& t = tensors_;
    add_lengths();
    add_offsets(true);
    for (Id* const tensor : {&t.queries, &t.out, &t.d_out, &t.d_queries}) *tensor = rows(s_.heads, t.query_offsets);
    t.keys = columns(s_.kv_heads, t.key_offsets);
    t.values = columns(s_.kv_heads, t.key_offsets);
    for (Id* const tensor : {&t.d_keys, &t.d_values}) *tensor = rows(s_.kv_heads, t.key_offsets);
    t.log_sum_exp = statistic();
    t.deltas = statistic();
    t.query_sums = rows(s_.heads, t.query_offsets, f32);
    Id const scale = graph_.constant(s_.scale);
    Id const one = graph_.constant(1);

    Id const products = graph_.pointwise(CUDNN_POINTWISE_MUL, t.d_out, t.out);
    Id const sums = graph_.reduce(CUDNN_REDUCE_TENSOR_ADD, products, graph_.inner(f32, of_rows()));
    graph_.pointwise(CUDNN_POINTWISE_MUL, sums, one, 0, t.deltas);

    Id x = graph_.product(t.queries, t.keys, graph_.inner(f32, scores()), t.lengths, t.key_lengths, 0);
    x = graph_.pointwise(CUDNN_POINTWISE_MUL, x, scale);
    x = without_padding(x);
    x = graph_.pointwise(CUDNN_POINTWISE_SUB, x, t.log_sum_exp);
    Id const weights = graph_.pointwise(CUDNN_POINTWISE_EXP, causal(x));
    sum_of_group(transposed(weights), t.d_out, t.head_d_values, t.d_values);

    x = graph_.product(t.d_out, t.values, graph_.inner(f32, scores()), t.lengths, t.key_lengths, 0);
    x = graph_.pointwise(CUDNN_POINTWISE_SUB, x, t.deltas);
    x = graph_.pointwise(CUDNN_POINTWISE_MUL, x, weights);
    Id const d_scores = graph_.pointwise(CUDNN_POINTWISE_MUL, x, scale);
    sum_of_group(transposed(d_scores), t.queries, t.head_d_keys, t.d_keys);

    Id const keys = graph_.reshape(
        t.keys, graph_.add({f32, row_sizes(s_.kv_heads), row_strides(s_.kv_heads), t.key_offsets, true}));
    graph_.product(d_scores, keys, t.query_sums, t.lengths, 0, t.key_lengths);
    graph_.pointwise(CUDNN_POINTWISE_IDENTITY, t.query_sums, 0, 0, t.d_queries);
}

}  // namespace

AttentionGraph forward_graph(AttentionSizes const& sizes, bool with_log_sum_exp) {
    Builder builder(sizes);
    builder.forward(with_log_sum_exp);
    return builder.take();
}

AttentionGraph decode_graph(AttentionSizes const& sizes) {
    Builder builder(sizes);
    builder.decode();
    return builder.take();
}

AttentionGraph backward_graph(AttentionSizes const& sizes) {
    Builder builder(sizes);
    builder.backward();
    return builder.take();
}

std::int32_t* AttentionLists::add(Id tensor, std::int64_t count) {
    std::size_t const begin = (words.size() + 3) / 4 * 4;
    words.resize(begin + static_cast<std::size_t>(count), 0);
    places.emplace_back(tensor, begin);
    return words.data() + begin;
}

void AttentionLists::make(AttentionTensors const& t, AttentionSizes const& sizes,
                          std::span<AttentionSegment const> segments) {
    words.clear();
    places.clear();
    std::int32_t* to = add(t.lengths, sizes.sequences);
    for (AttentionSegment const& segment : segments) *to++ = static_cast<std::int32_t>(segment.rows);
    to = add(t.key_lengths, sizes.sequences);
    for (AttentionSegment const& segment : segments)
        *to++ = static_cast<std::int32_t>(segment.first_position + segment.rows);
    std::int64_t const end_row = segments.back().first_row + segments.back().rows;
    for (auto const& [tensor, row] :
         {std::pair(t.query_offsets, sizes.heads * sizes.head_size),
          std::pair(t.key_offsets, sizes.kv_heads * sizes.head_size), std::pair(t.row_offsets, sizes.heads)}) {
        if (tensor == 0) continue;
        to = add(tensor, sizes.sequences + 1);
        std::fill_n(to, sizes.sequences + 1, static_cast<std::int32_t>(end_row * row));
        for (AttentionSegment const& segment : segments) *to++ = static_cast<std::int32_t>(segment.first_row * row);
    }
    if (t.page_table == 0) return;
    std::int64_t const width = sizes.positions / kv_page_tokens;
    to = add(t.page_table, sizes.sequences * width);
    for (AttentionSegment const& segment : segments) {
        std::copy_n(segment.page_table.begin(), pages_of(segment), to);
        to += width;
    }
}

}  // namespace selvage::kernels::cuda::cudnn
#endif

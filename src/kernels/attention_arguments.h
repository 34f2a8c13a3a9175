// SPDX-License-Identifier: Apache-2.0
#pragma once
// The arguments of attention, checked.
#include <algorithm>

#include "kernels/attention.h"

namespace selvage::kernels {

inline std::int64_t page_elements(KvPages const& pages) {
    return 2 * pages.kv_heads * pages.head_size * kv_page_tokens;
}

inline void check_rows(std::span<AttentionSegment const> segments, std::int64_t rows) {
    for (AttentionSegment const& segment : segments)
        SELVAGE_CHECK(segment.first_row >= 0 && segment.rows >= 0 && segment.first_row + segment.rows <= rows,
                      "segment of rows {} + {} in a batch of {}", segment.first_row, segment.rows, rows);
}

inline std::int64_t pages_of(AttentionSegment const& segment) {
    return (segment.first_position + segment.rows + kv_page_tokens - 1) / kv_page_tokens;
}

inline void check_segments(std::span<AttentionSegment const> segments, std::int64_t rows, std::int64_t page_count) {
    check_rows(segments, rows);
    for (AttentionSegment const& segment : segments) {
        SELVAGE_CHECK(segment.first_position >= 0, "position {}", segment.first_position);
        if (segment.rows == 0) continue;
        std::int64_t const needed = pages_of(segment);
        SELVAGE_CHECK(static_cast<std::int64_t>(segment.page_table.size()) >= needed, "{} pages for {} positions",
                      segment.page_table.size(), segment.first_position + segment.rows);
        for (std::int64_t i = 0; i < needed; ++i) {
            std::int32_t const page = segment.page_table[static_cast<std::size_t>(i)];
            SELVAGE_CHECK(page >= 0 && page < page_count, "page {} of {}", page, page_count);
        }
    }
}

inline void check_pages(KvPages const& pages) {
    SELVAGE_CHECK(pages.head_size >= 2 && pages.head_size <= 256 && pages.head_size % 2 == 0, "head size {}",
                  pages.head_size);
    SELVAGE_CHECK(pages.pages.elements() == pages.pages.dim(0) * page_elements(pages), "pages of shape {}",
                  pages.pages.shape().text());
}

inline void check_stored(KvPages const& pages, TensorView keys, TensorView values) {
    check_pages(pages);
    SELVAGE_CHECK(values.elements() == keys.elements(), "keys {} and values {}", keys.shape().text(),
                  values.shape().text());
}

inline void check_stored(KvPages const& pages, TensorView keys, TensorView values,
                         std::span<AttentionSegment const> segments) {
    check_stored(pages, keys, values);
    check_segments(segments, keys.elements() / (pages.kv_heads * pages.head_size), pages.pages.dim(0));
}

// The number of heads.
inline std::int64_t check_forward(TensorView out, TensorView queries, KvPages const& pages) {
    check_pages(pages);
    std::int64_t const heads = queries.elements() / queries.dim(0) / pages.head_size;
    SELVAGE_CHECK(heads % pages.kv_heads == 0 && out.elements() == queries.elements(), "{} heads over {}", heads,
                  pages.kv_heads);
    return heads;
}

inline std::int64_t check_forward(TensorView out, TensorView queries, KvPages const& pages,
                                  std::span<AttentionSegment const> segments) {
    check_segments(segments, queries.dim(0), pages.pages.dim(0));
    return check_forward(out, queries, pages);
}

inline void check_backward(TensorView queries, TensorView keys, std::span<AttentionSegment const> segments) {
    SELVAGE_CHECK(queries.rank() == 3 && keys.rank() == 3 && keys.dim(0) == queries.dim(0), "queries {} and keys {}",
                  queries.shape().text(), keys.shape().text());
    std::int64_t const size = queries.dim(2);
    SELVAGE_CHECK(queries.dim(1) % keys.dim(1) == 0 && size % 2 == 0 && size <= 256 && keys.dim(2) == size,
                  "queries {} and keys {}", queries.shape().text(), keys.shape().text());
    check_rows(segments, queries.dim(0));
}

// A run of rows of one segment, all in one page.
template <class Function>
void over_pages(AttentionSegment const& segment, Function const& function) {
    for (std::int64_t row = 0, rows = 0; row < segment.rows; row += rows) {
        rows = std::min(segment.rows - row, kv_page_tokens - (segment.first_position + row) % kv_page_tokens);
        function(row, rows);
    }
}

}  // namespace selvage::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels {
namespace {

std::int64_t page_elements(KvPages const& pages) { return 2 * pages.kv_heads * pages.head_size * kv_page_tokens; }

void check_segments(std::span<AttentionSegment const> segments, std::int64_t rows, KvPages const* pages) {
    for (AttentionSegment const& segment : segments) {
        SELVAGE_CHECK(segment.first_row >= 0 && segment.rows >= 0 && segment.first_row + segment.rows <= rows,
                      "segment of rows {} + {} in a batch of {}", segment.first_row, segment.rows, rows);
        SELVAGE_CHECK(segment.first_position >= 0, "position {}", segment.first_position);
        if (pages == nullptr || segment.rows == 0) continue;
        std::int64_t const needed = (segment.first_position + segment.rows + kv_page_tokens - 1) / kv_page_tokens;
        SELVAGE_CHECK(static_cast<std::int64_t>(segment.page_table.size()) >= needed, "{} pages for {} positions",
                      segment.page_table.size(), segment.first_position + segment.rows);
        for (std::int64_t i = 0; i < needed; ++i) {
            std::int32_t const page = segment.page_table[static_cast<std::size_t>(i)];
            SELVAGE_CHECK(page >= 0 && page < pages->pages.dim(0), "page {} of {}", page, pages->pages.dim(0));
        }
    }
}

void check_pages(KvPages const& pages) {
    SELVAGE_CHECK(pages.head_size >= 2 && pages.head_size <= 256 && pages.head_size % 2 == 0, "head size {}",
                  pages.head_size);
    SELVAGE_CHECK(pages.pages.elements() == pages.pages.dim(0) * page_elements(pages), "pages of shape {}",
                  pages.pages.shape().text());
}

// One tile's worth of work: consecutive (row, head of the group) pairs of one key-value head of one segment.
struct Unit {
    AttentionSegment const* segment;
    std::int64_t kv_head;
    std::int64_t first;  // pair index: row * group + head
    std::int64_t count;
};

struct Forward {
    float* out;
    float* log_sum_exp;
    float const* queries;
    KvPages const& pages;
    std::int64_t heads;
    float scale;

    void run(Unit const& unit) const {
        std::int64_t const size = pages.head_size;
        std::int64_t const group = heads / pages.kv_heads;
        AttentionTile tile{};
        tile.pages = pages.pages.as<float>() + unit.kv_head * size * kv_page_tokens;
        tile.page_size = page_elements(pages);
        tile.values_offset = pages.kv_heads * size * kv_page_tokens;
        tile.page_table = unit.segment->page_table.data();
        tile.head_size = size;
        tile.scale = scale;
        tile.queries = unit.count;
        for (std::int64_t i = 0; i < unit.count; ++i) {
            std::int64_t const row = (unit.first + i) / group;
            std::int64_t const head = unit.kv_head * group + (unit.first + i) % group;
            std::int64_t const index = (unit.segment->first_row + row) * heads + head;
            tile.out[i] = out + index * size;
            tile.log_sum_exp[i] = log_sum_exp == nullptr ? nullptr : log_sum_exp + index;
            tile.query[i] = queries + index * size;
            tile.position[i] = unit.segment->first_position + row;
        }
        kernel_table().attention_tile(tile);
    }
};

// Work lists outlive their call, so that steps do not allocate.
std::vector<Unit>& units_of(std::span<AttentionSegment const> segments, std::int64_t kv_heads, std::int64_t group) {
    static std::vector<Unit> units;
    units.clear();
    std::int64_t const most = std::min(AttentionTile::max_queries, kernel_table().tile_rows);
    for (AttentionSegment const& segment : segments)
        for (std::int64_t kv_head = 0; kv_head < kv_heads; ++kv_head)
            for (std::int64_t first = 0; first < segment.rows * group; first += most)
                units.push_back({&segment, kv_head, first, std::min(most, segment.rows * group - first)});
    return units;
}

}  // namespace

void store_kv(KvPages pages, TensorView keys, TensorView values, std::span<AttentionSegment const> segments, Stream&) {
    if (segments.empty()) return;
    check_pages(pages);
    std::int64_t const size = pages.head_size;
    std::int64_t const stride = pages.kv_heads * size;
    std::int64_t const rows = keys.elements() / stride;
    SELVAGE_CHECK(values.elements() == keys.elements(), "keys {} and values {}", keys.shape().text(),
                  values.shape().text());
    check_segments(segments, rows, &pages);
    float* const store = pages.pages.as<float>();
    float const* const k = keys.as<float>();
    float const* const v = values.as<float>();
    parallel_for(pages.kv_heads, 1, 2 * keys.elements(), [&](std::int64_t begin, std::int64_t end) {
        for (AttentionSegment const& segment : segments)
            for (std::int64_t i = 0; i < segment.rows; ++i) {
                std::int64_t const position = segment.first_position + i;
                std::int64_t const slot = position % kv_page_tokens;
                std::int64_t const page = segment.page_table[static_cast<std::size_t>(position / kv_page_tokens)];
                float* const to = store + page * page_elements(pages);
                for (std::int64_t head = begin; head < end; ++head) {
                    std::int64_t const from = (segment.first_row + i) * stride + head * size;
                    float* const to_keys = to + head * size * kv_page_tokens + slot;
                    float* const to_values = to + (pages.kv_heads + head) * size * kv_page_tokens + slot * size;
                    for (std::int64_t d = 0; d < size; ++d) to_keys[d * kv_page_tokens] = k[from + d];
                    std::copy_n(v + from, size, to_values);
                }
            }
    });
}

void attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                       std::span<AttentionSegment const> segments, float scale, Stream&) {
    if (segments.empty() || queries.empty()) return;
    check_pages(pages);
    std::int64_t const rows = queries.dim(0);
    std::int64_t const heads = queries.elements() / rows / pages.head_size;
    SELVAGE_CHECK(heads % pages.kv_heads == 0 && out.elements() == queries.elements(), "{} heads over {}", heads,
                  pages.kv_heads);
    check_segments(segments, rows, &pages);
    Forward const forward{.out = out.as<float>(),
                          .log_sum_exp = log_sum_exp.empty() ? nullptr : log_sum_exp.as<float>(),
                          .queries = queries.as<float>(),
                          .pages = pages,
                          .heads = heads,
                          .scale = scale};
    std::vector<Unit> const& units = units_of(segments, pages.kv_heads, heads / pages.kv_heads);
    auto const count = static_cast<std::int64_t>(units.size());
    // Later rows see more keys: small pieces, handed out as threads come free.
#pragma omp parallel for schedule(dynamic, 4) if (count > 4 && omp_get_max_threads() > 1)
    for (std::int64_t i = 0; i < count; ++i) forward.run(units[static_cast<std::size_t>(i)]);
}

void attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                        TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                        std::span<AttentionSegment const> segments, float scale, Stream&) {
    if (segments.empty() || queries.empty()) return;
    SELVAGE_CHECK(queries.rank() == 3 && keys.rank() == 3 && keys.dim(0) == queries.dim(0), "queries {} and keys {}",
                  queries.shape().text(), keys.shape().text());
    std::int64_t const heads = queries.dim(1);
    std::int64_t const kv_heads = keys.dim(1);
    std::int64_t const size = queries.dim(2);
    std::int64_t const group = heads / kv_heads;
    SELVAGE_CHECK(heads % kv_heads == 0 && size % 2 == 0 && size <= 256 && keys.dim(2) == size,
                  "queries {} and keys {}", queries.shape().text(), keys.shape().text());
    check_segments(segments, queries.dim(0), nullptr);
    auto const count = static_cast<std::int64_t>(segments.size()) * kv_heads;
    float* const dq = d_queries.as<float>();
    float* const dk = d_keys.as<float>();
    float* const dv = d_values.as<float>();
    float const* const d = d_out.as<float>();
    float const* const o = out.as<float>();
    float const* const lse = log_sum_exp.as<float>();
    float const* const q = queries.as<float>();
    float const* const k = keys.as<float>();
    float const* const v = values.as<float>();
#pragma omp parallel for schedule(dynamic, 1) if (count > 1 && omp_get_max_threads() > 1)
    for (std::int64_t i = 0; i < count; ++i) {
        AttentionSegment const& segment = segments[static_cast<std::size_t>(i / kv_heads)];
        std::int64_t const kv_head = i % kv_heads;
        thread_local std::vector<float> workspace;
        workspace.resize(static_cast<std::size_t>(attention_backward_workspace(size)));
        std::int64_t const row_head = segment.first_row * heads + kv_head * group;
        std::int64_t const row_kv_head = segment.first_row * kv_heads + kv_head;
        kernel_table().attention_backward({.d_queries = dq + row_head * size,
                                           .d_keys = dk + row_kv_head * size,
                                           .d_values = dv + row_kv_head * size,
                                           .d_out = d + row_head * size,
                                           .out = o + row_head * size,
                                           .log_sum_exp = lse + row_head,
                                           .queries = q + row_head * size,
                                           .keys = k + row_kv_head * size,
                                           .values = v + row_kv_head * size,
                                           .workspace = workspace.data(),
                                           .rows = segment.rows,
                                           .query_stride = heads * size,
                                           .key_stride = kv_heads * size,
                                           .heads = heads,
                                           .group = group,
                                           .head_size = size,
                                           .scale = scale});
    }
}

}  // namespace selvage::kernels

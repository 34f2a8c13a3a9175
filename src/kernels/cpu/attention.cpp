// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels/attention_arguments.h"
#include "kernels/cpu/attention_window.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/workspace.h"

namespace selvage::kernels::cpu {
namespace {

// One tile's worth of work: consecutive (row, head of the group) pairs of key-value heads of one segment.
struct Unit {
    AttentionSegment const* segment;
    std::int64_t kv_head;
    std::int64_t kv_heads;
    std::int64_t first;  // pair index: row * group + head
    std::int64_t count;
    std::int64_t first_split;  // that its first row sees
    std::int64_t end_split;    // behind the one of its last row
};

template <class T>
struct Forward {
    T* out;
    float* log_sum_exp;
    T const* queries;
    KvPages const& pages;
    std::int64_t heads;
    AttentionOptions options;

    AttentionTile<T> tile_of(Unit const& unit) const {
        std::int64_t const size = pages.head_size;
        std::int64_t const group = heads / pages.kv_heads;
        AttentionTile<T> tile{};
        tile.pages = pages.pages.as<T>() + unit.kv_head * size * kv_page_tokens;
        tile.stored = unit.segment->first_position + unit.segment->rows;
        tile.page_size = page_elements(pages);
        tile.values_offset = pages.kv_heads * size * kv_page_tokens;
        tile.page_table = unit.segment->page_table.data();
        tile.head_size = size;
        tile.scale = options.scale;
        tile.softcap = options.softcap;
        tile.window = window_of(options);
        tile.queries = unit.count;
        tile.heads = unit.kv_heads;
        for (std::int64_t i = 0; i < unit.kv_heads * unit.count; ++i) {
            std::int64_t const pair = unit.first + i % unit.count;
            std::int64_t const row = pair / group;
            std::int64_t const head = (unit.kv_head + i / unit.count) * group + pair % group;
            std::int64_t const index = (unit.segment->first_row + row) * heads + head;
            tile.out[i] = out + index * size;
            tile.log_sum_exp[i] = log_sum_exp == nullptr ? nullptr : log_sum_exp + index;
            tile.query[i] = queries + index * size;
            tile.position[i] = unit.segment->first_position + row;
        }
        return tile;
    }
};

// Work lists outlive their call, so that steps do not allocate. A unit's rows lie in one page. Heads with few rows go
// together, up to `most` rows and as long as there is enough for all threads.
std::vector<Unit>& units_of(std::span<AttentionSegment const> segments, std::int64_t kv_heads, std::int64_t group,
                            std::int64_t most, bool heads_together, std::int64_t window) {
    static std::vector<Unit> units;
    units.clear();
    std::int64_t const enough =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(segments.size()) * kv_heads / (8 * omp_get_max_threads()));
    for (AttentionSegment const& segment : segments) {
        std::int64_t const together =
            heads_together ? std::clamp<std::int64_t>(most / (segment.rows * group), 1, enough) : 1;
        for (std::int64_t kv_head = 0; kv_head < kv_heads; kv_head += together)
            over_pages(segment, [&](std::int64_t row, std::int64_t rows) {
                std::int64_t const end = (row + rows) * group;
                std::int64_t const end_split = (segment.first_position + row) / kv_split_tokens + 1;
                for (std::int64_t first = row * group; first < end; first += most) {
                    std::int64_t const seen = segment.first_position + first / group - window + 1;
                    units.push_back({&segment, kv_head, std::min(together, kv_heads - kv_head), first,
                                     std::min(most, end - first), std::max<std::int64_t>(0, seen) / kv_split_tokens,
                                     end_split});
                }
            });
    }
    return units;
}

// A run of one segment's rows that lie in one page, one head.
template <class T>
void store_run(T* keys, T* values, T const* from_keys, T const* from_values, std::int64_t stride, std::int64_t slot,
               std::int64_t count, std::int64_t size) {
    KernelTable const& table = kernel_table();
    if constexpr (std::is_same_v<T, float>) {
        table.store_keys(keys, from_keys, stride, slot, count, size);
        for (std::int64_t i = 0; i < count; ++i)
            std::copy_n(from_values + i * stride, size, values + (slot + i) * size);
    } else {
        table.store_keys_bf16(keys, from_keys, stride, slot, count, size);
        table.store_values_bf16(values, from_values, stride, slot, count, size);
    }
}

template <class T>
void store_rows(KvPages const& pages, T const* keys, T const* values, AttentionSegment const& segment,
                std::int64_t head) {
    std::int64_t const size = pages.head_size;
    std::int64_t const stride = pages.kv_heads * size;
    over_pages(segment, [&](std::int64_t row, std::int64_t count) {
        std::int64_t const position = segment.first_position + row;
        std::int64_t const page = segment.page_table[static_cast<std::size_t>(position / kv_page_tokens)];
        T* const to = pages.pages.as<T>() + page * page_elements(pages) + head * size * kv_page_tokens;
        std::int64_t const from = (segment.first_row + row) * stride + head * size;
        store_run(to, to + stride * kv_page_tokens, keys + from, values + from, stride, position % kv_page_tokens,
                  count, size);
    });
}

template <class T>
AttentionKernels<T> const& kernels_of(KernelTable const& table) {
    if constexpr (std::is_same_v<T, float>)
        return table.attention;
    else
        return table.attention_bf16;
}

// Few units with long contexts: threads take splits. False where no unit has more than one.
template <class T>
bool split_units(Forward<T> const& work, std::vector<Unit> const& units, AttentionKernels<T> const& kernels) {
    struct Split {
        std::size_t unit;
        std::int64_t index;
    };
    static std::vector<Split> splits;
    static std::vector<float> memory;
    splits.clear();
    for (std::size_t i = 0; i < units.size(); ++i)
        for (std::int64_t index = units[i].first_split; index < units[i].end_split; ++index)
            splits.push_back({i, index});
    if (splits.size() == units.size()) return false;
    float* const states = aligned_floats(memory, static_cast<std::int64_t>(splits.size()) * attention_state_floats);
#pragma omp parallel
    {
#pragma omp for schedule(dynamic, 1)
        for (std::size_t i = 0; i < splits.size(); ++i)
            kernels.split(work.tile_of(units[splits[i].unit]), splits[i].index,
                          states + static_cast<std::int64_t>(i) * attention_state_floats);
#pragma omp for schedule(dynamic, 1)
        for (std::size_t i = 0; i < splits.size(); ++i)
            if (splits[i].index == units[splits[i].unit].first_split)
                kernels.merge(work.tile_of(units[splits[i].unit]),
                              states + static_cast<std::int64_t>(i) * attention_state_floats);
    }
    return true;
}

template <class T>
void forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages,
             std::span<AttentionSegment const> segments, std::int64_t heads, AttentionOptions const& options) {
    Forward<T> const work{.out = out.as<T>(),
                          .log_sum_exp = log_sum_exp.empty() ? nullptr : log_sum_exp.as<float>(),
                          .queries = queries.as<T>(),
                          .pages = pages,
                          .heads = heads,
                          .options = options};
    constexpr bool is_float = std::is_same_v<T, float>;
    std::int64_t const most = is_float ? kernel_table().tile_rows : AttentionTile<T>::max_queries;
    std::vector<Unit> const& units =
        units_of(segments, pages.kv_heads, heads / pages.kv_heads, most, !is_float, window_of(options));
    auto const count = static_cast<std::int64_t>(units.size());
    AttentionKernels<T> const& kernels = kernels_of<T>(kernel_table());
    std::int64_t const threads = omp_get_max_threads();
    if (threads > 1 && count < 4 * threads && split_units(work, units, kernels)) return;
        // Later rows see more keys: small pieces, handed out as threads come free.
#pragma omp parallel for schedule(dynamic, 4) if (count > 4 && threads > 1)
    for (std::int64_t i = 0; i < count; ++i) kernels.tile(work.tile_of(units[static_cast<std::size_t>(i)]));
}

}  // namespace

void store_kv(KvPages pages, TensorView keys, TensorView values, std::span<AttentionSegment const> segments, Stream&) {
    if (segments.empty()) return;
    check_stored(pages, keys, values, segments);
    auto const count = static_cast<std::int64_t>(segments.size()) * pages.kv_heads;
    parallel_for(count, 1, 2 * keys.elements(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            AttentionSegment const& segment = segments[static_cast<std::size_t>(i / pages.kv_heads)];
            if (pages.pages.dtype() == DType::bf16)
                store_rows(pages, keys.as<BFloat16>(), values.as<BFloat16>(), segment, i % pages.kv_heads);
            else
                store_rows(pages, keys.as<float>(), values.as<float>(), segment, i % pages.kv_heads);
        }
    });
}

void attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                       std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream&) {
    if (segments.empty() || queries.empty()) return;
    std::int64_t const heads = check_forward(out, queries, pages, segments);
    if (pages.pages.dtype() == DType::bf16)
        forward<BFloat16>(out, log_sum_exp, queries, pages, segments, heads, options);
    else
        forward<float>(out, log_sum_exp, queries, pages, segments, heads, options);
}

void fill_attention(Operations& operations) {
    operations.store_kv = store_kv;
    operations.attention_forward = attention_forward;
    // The segments are read as they are.
    operations.make_attention_plan = [](AttentionPlan&, AttentionPlan::Sizes, Stream&) {};
    operations.store_planned_kv = [](KvPages pages, TensorView keys, TensorView values, AttentionPlan const& plan,
                                     Stream& stream) { cpu::store_kv(pages, keys, values, plan.segments(), stream); };
    operations.planned_attention_forward = [](TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                                              AttentionPlan const& plan, AttentionOptions const& options,
                                              Stream& stream) {
        cpu::attention_forward(out, log_sum_exp, queries, pages, plan.segments(), options, stream);
    };
}

}  // namespace selvage::kernels::cpu

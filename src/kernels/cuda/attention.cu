// SPDX-License-Identifier: Apache-2.0
// Keys and values into pages, and the work lists of the forward pass.
#include <bit>
#include <cstring>
#include <vector>

#include "kernels/arguments.h"
#include "kernels/attention_arguments.h"
#include "kernels/cuda/attention_softmax.h"
#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/operations.h"

namespace selvage::kernels::cuda {
namespace {

// Rows of a batch that go to consecutive slots of a page.
struct StoredRun {
    std::int32_t first_row;
    std::int32_t rows;
    std::int32_t page;
    std::int32_t slot;
};

// Sizes in units of V, which may be several elements.
template <class V>
struct StoreWork {
    V* pages;
    V const* keys;
    V const* values;
    StoredRun const* runs;
    int kv_heads, head_size;
};

// A block has a run and a key-value head.
template <class V>
__global__ void store_kernel(StoreWork<V> work) {
    StoredRun const run = work.runs[blockIdx.x];
    int const kv_head = static_cast<int>(blockIdx.y);
    std::int64_t const values_at = std::int64_t{work.kv_heads} * work.head_size * page_tokens;
    V* const to = work.pages + 2 * run.page * values_at + (kv_head * page_tokens + run.slot) * work.head_size;
    for (int i = static_cast<int>(threadIdx.x); i < run.rows * work.head_size; i += static_cast<int>(blockDim.x)) {
        std::int64_t const row = run.first_row + i / work.head_size;
        std::int64_t const from = (row * work.kv_heads + kv_head) * work.head_size + i % work.head_size;
        to[i] = work.keys[from];
        to[values_at + i] = work.values[from];
    }
}

template <class V>
void store_as(KvPages const& pages, TensorView keys, TensorView values, StoredRun const* runs, unsigned count,
              Stream& stream) {
    auto const pointer = [](TensorView view) { return static_cast<V*>(view.raw()); };
    std::int64_t const head_bytes = pages.head_size * static_cast<std::int64_t>(size_of(keys.dtype()));
    StoreWork<V> const work{pointer(pages.pages),
                            pointer(keys),
                            pointer(values),
                            runs,
                            static_cast<int>(pages.kv_heads),
                            static_cast<int>(head_bytes / static_cast<std::int64_t>(sizeof(V)))};
    launch(store_kernel<V>, {count, static_cast<unsigned>(pages.kv_heads)}, 128, 0, stream, work);
}

void store_runs(KvPages const& pages, TensorView keys, TensorView values, StoredRun const* runs, unsigned count,
                Stream& stream) {
    SELVAGE_CHECK(keys.dtype() == pages.pages.dtype() && values.dtype() == pages.pages.dtype(),
                  "keys in {}, values in {}", name_of(keys.dtype()), name_of(values.dtype()));
    std::int64_t const head_bytes = pages.head_size * static_cast<std::int64_t>(size_of(keys.dtype()));
    if (head_bytes % 16 == 0) return store_as<uint4>(pages, keys, values, runs, count, stream);
    store_as<unsigned>(pages, keys, values, runs, count, stream);  // head sizes are even
}

void list_runs(std::vector<StoredRun>& runs, std::span<AttentionSegment const> segments) {
    runs.clear();
    for (AttentionSegment const& segment : segments)
        over_pages(segment, [&](std::int64_t row, std::int64_t rows) {
            std::int64_t const position = segment.first_position + row;
            runs.push_back({static_cast<std::int32_t>(segment.first_row + row), static_cast<std::int32_t>(rows),
                            segment.page_table[static_cast<std::size_t>(position / kv_page_tokens)],
                            static_cast<std::int32_t>(position % kv_page_tokens)});
        });
}

// Fewer blocks than this leave a GPU idle: wide tiles are then cut into splits. The bits are the same either way.
constexpr std::int64_t few_blocks = 64;

// Lists outlive their call, so that steps do not allocate.
struct ForwardLists {
    std::vector<ForwardTile> narrow, wide, merge_narrow, merge_wide, all;
    std::vector<std::int32_t> page_tables;
    ForwardCounts counts;

    using Sizes = AttentionPlan::Sizes;
    void make(std::span<AttentionSegment const> segments, std::int64_t kv_heads, std::int64_t group, DType dtype,
              Sizes sizes = Sizes::exact);

  private:
    std::int32_t state_pairs = 0;
    void round_up(std::size_t uncut_narrow, std::size_t uncut_wide);
    void add_tiles(AttentionSegment const& segment, std::int64_t group);
    void cut(std::vector<ForwardTile>& tiles, std::vector<ForwardTile>& merges, int pairs);
};

void ForwardLists::make(std::span<AttentionSegment const> segments, std::int64_t kv_heads, std::int64_t group,
                        DType dtype, Sizes sizes) {
    for (auto* const list : {&narrow, &wide, &merge_narrow, &merge_wide, &all}) list->clear();
    page_tables.clear();
    state_pairs = 0;
    for (AttentionSegment const& segment : segments) add_tiles(segment, group);
    std::size_t const uncut_narrow = narrow.size(), uncut_wide = wide.size();
    if (dtype == DType::bf16) {
        cut(narrow, merge_narrow, narrow_pairs);
        if (static_cast<std::int64_t>(wide.size()) * kv_heads < few_blocks) cut(wide, merge_wide, wide_pairs);
    }
    if (sizes == Sizes::rounded_up) round_up(uncut_narrow, uncut_wide);
    counts = {.narrow = static_cast<unsigned>(narrow.size()),
              .wide = static_cast<unsigned>(wide.size()),
              .merge_narrow = static_cast<unsigned>(merge_narrow.size()),
              .merge_wide = static_cast<unsigned>(merge_wide.size()),
              .state_pairs = state_pairs};
    for (ForwardTile const& tile : wide)
        counts.wide_splits = counts.wide_splits || tile.end_page - tile.first_page > split_pages;
    for (auto const* const list : {&narrow, &wide, &merge_narrow, &merge_wide})
        all.insert(all.end(), list->begin(), list->end());
}

// Tiles without pairs up to the next power of two, and as many to merge as if all were; room for the states of as many
// splits as there may then be.
void ForwardLists::round_up(std::size_t uncut_narrow, std::size_t uncut_wide) {
    narrow.resize(narrow.empty() ? 0 : std::bit_ceil(narrow.size()));
    wide.resize(wide.empty() ? 0 : std::bit_ceil(wide.size()));
    if (!merge_narrow.empty()) merge_narrow.resize(uncut_narrow);
    if (!merge_wide.empty()) merge_wide.resize(uncut_wide);
    if (state_pairs == 0) return;
    state_pairs = static_cast<std::int32_t>(narrow.size()) * narrow_pairs;
    if (!merge_wide.empty()) state_pairs += static_cast<std::int32_t>(wide.size()) * wide_pairs;
}

void ForwardLists::add_tiles(AttentionSegment const& segment, std::int64_t group) {
    if (segment.rows == 0) return;
    auto const table = static_cast<std::int32_t>(page_tables.size());
    page_tables.insert(page_tables.end(), segment.page_table.begin(), segment.page_table.begin() + pages_of(segment));
    bool const is_narrow = segment.rows * group <= narrow_pairs;
    std::vector<ForwardTile>& tiles = is_narrow ? narrow : wide;
    auto const begin = tiles.size();
    std::int64_t const most = is_narrow ? narrow_pairs : wide_pairs;
    over_pages(segment, [&](std::int64_t row, std::int64_t rows) {
        for (std::int64_t pair = row * group; pair < (row + rows) * group; pair += most)
            tiles.push_back({.first_row = static_cast<std::int32_t>(segment.first_row),
                             .first_position = static_cast<std::int32_t>(segment.first_position),
                             .stored = static_cast<std::int32_t>(segment.first_position + segment.rows),
                             .table = table,
                             .first_pair = static_cast<std::int32_t>(pair),
                             .pairs = static_cast<std::int32_t>(std::min(most, (row + rows) * group - pair)),
                             .first_page = 0,
                             .end_page = static_cast<std::int32_t>((segment.first_position + row) / kv_page_tokens + 1),
                             .state = -1});
    });
    std::reverse(tiles.begin() + static_cast<std::ptrdiff_t>(begin), tiles.end());  // those with most work first
}

// Tiles of several splits become one for each, and are merged afterwards.
void ForwardLists::cut(std::vector<ForwardTile>& tiles, std::vector<ForwardTile>& merges, int pairs) {
    for (std::size_t i = 0, count = tiles.size(); i < count; ++i) {
        ForwardTile tile = tiles[i];
        if (tile.end_page <= split_pages) continue;
        tile.state = state_pairs;
        merges.push_back(tile);
        for (int page = 0; page < merges.back().end_page; page += split_pages) {
            tile.first_page = page;
            tile.end_page = std::min(page + split_pages, merges.back().end_page);
            tile.state = state_pairs;
            state_pairs += pairs;
            if (page == 0)
                tiles[i] = tile;
            else
                tiles.push_back(tile);
        }
    }
}

template <class E>
void forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages, std::int64_t heads,
             AttentionOptions const& options, std::int32_t const* page_tables, ForwardTile const* tiles,
             ForwardCounts const& counts, Stream& stream) {
    constexpr bool is_bf16 = sizeof(E) == 2;
    if constexpr (is_bf16) SELVAGE_CHECK(pages.head_size % 8 == 0, "head size {} in bf16 on a GPU", pages.head_size);
    auto const head_size = static_cast<int>(pages.head_size);
    std::int64_t const states = pages.kv_heads * state_floats(counts.state_pairs, padded_head(head_size));
    ForwardWork<E> const work{
        .out = out.as<E>(),
        .log_sum_exp = optional<float>(log_sum_exp),
        .queries = queries.as<E>(),
        .pages = pages.pages.as<E>(),
        .page_tables = page_tables,
        .tiles = tiles,
        .states = states == 0 ? nullptr : scratch<float>(static_cast<std::size_t>(states), stream),
        .heads = static_cast<int>(heads),
        .kv_heads = static_cast<int>(pages.kv_heads),
        .head_size = head_size,
        .scale = (options.softcap == 0 ? options.scale : 1.0F) * log2_e,
        .scores = score_options(options)};
    launch_forward(work, counts, stream);
}

// How a plan's lists lie: runs, tiles, page tables. Where the first two begin is a matter of the sizes alone.
struct Places {
    std::size_t tiles, tables;

    explicit Places(AttentionSizes const& sizes)
        : tiles(aligned(sizes.runs * sizeof(StoredRun))),
          tables(tiles +
                 aligned((sizes.narrow + sizes.wide + sizes.merge_narrow + sizes.merge_wide) * sizeof(ForwardTile))) {}
    static std::size_t aligned(std::size_t bytes) { return (bytes + 15) / 16 * 16; }
};

void make_attention_plan(AttentionPlan& plan, AttentionPlan::Sizes sizes, Stream& stream) {
    thread_local std::vector<StoredRun> runs;
    thread_local ForwardLists lists;
    list_runs(runs, plan.segments());
    lists.make(plan.segments(), plan.kv_heads(), plan.heads() / plan.kv_heads(), plan.dtype(), sizes);
    AttentionSizes all = lists.counts;
    all.runs = static_cast<unsigned>(runs.size());
    Places const places(all);
    std::span<std::byte> const host = plan.room_for(places.tables + lists.page_tables.size() * sizeof(std::int32_t));
    auto const put = [&]<class T>(std::size_t at, std::vector<T> const& list) {
        if (!list.empty()) std::memcpy(host.data() + at, list.data(), list.size() * sizeof(T));
    };
    put(0, runs);
    put(places.tiles, lists.all);
    put(places.tables, lists.page_tables);
    plan.send(all, stream);
}

}  // namespace

void store_kv(KvPages pages, TensorView keys, TensorView values, std::span<AttentionSegment const> segments,
              Stream& stream) {
    if (segments.empty()) return;
    check_stored(pages, keys, values, segments);
    thread_local std::vector<StoredRun> runs;
    list_runs(runs, segments);
    store_runs(pages, keys, values, upload(std::span<StoredRun const>(runs), stream),
               static_cast<unsigned>(runs.size()), stream);
}

void store_planned_kv(KvPages pages, TensorView keys, TensorView values, AttentionPlan const& plan, Stream& stream) {
    if (plan.segments().empty()) return;
    check_stored(pages, keys, values);
    store_runs(pages, keys, values, reinterpret_cast<StoredRun const*>(plan.lists()), plan.sizes().runs, stream);
}

void attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                       std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream& stream) {
    if (segments.empty() || queries.empty()) return;
    std::int64_t const heads = check_forward(out, queries, pages, segments);
    if (library_attention_forward(out, log_sum_exp, queries, pages, segments, heads, options, stream)) return;
    thread_local ForwardLists lists;
    lists.make(segments, pages.kv_heads, heads / pages.kv_heads, pages.pages.dtype());
    auto const* const tables = upload(std::span<std::int32_t const>(lists.page_tables), stream);
    auto const* const tiles = upload(std::span<ForwardTile const>(lists.all), stream);
    with_element(pages.pages, [&]<class E>() {
        forward<E>(out, log_sum_exp, queries, pages, heads, options, tables, tiles, lists.counts, stream);
    });
}

void planned_attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                               AttentionPlan const& plan, AttentionOptions const& options, Stream& stream) {
    if (plan.segments().empty() || queries.empty()) return;
    std::int64_t const heads = check_forward(out, queries, pages);
    SELVAGE_CHECK(heads == plan.heads() && pages.kv_heads == plan.kv_heads() && pages.pages.dtype() == plan.dtype(),
                  "a plan for {} heads over {}, not {} over {}", plan.heads(), plan.kv_heads(), heads, pages.kv_heads);
    if (library_attention_forward(out, log_sum_exp, queries, pages, plan.segments(), heads, options, stream)) return;
    Places const places(plan.sizes());
    auto const* const tables = reinterpret_cast<std::int32_t const*>(plan.lists() + places.tables);
    auto const* const tiles = reinterpret_cast<ForwardTile const*>(plan.lists() + places.tiles);
    with_element(pages.pages, [&]<class E>() {
        forward<E>(out, log_sum_exp, queries, pages, heads, options, tables, tiles, plan.sizes(), stream);
    });
}

void fill_attention(Operations& operations) {
    operations.store_kv = store_kv;
    operations.attention_forward = attention_forward;
    operations.make_attention_plan = make_attention_plan;
    operations.store_planned_kv = store_planned_kv;
    operations.planned_attention_forward = planned_attention_forward;
}

}  // namespace selvage::kernels::cuda

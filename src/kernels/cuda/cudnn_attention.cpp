// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_attention.h"

#ifdef SELVAGE_CUDNN
#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <tuple>
#include <vector>

#include "base/log.h"
#include "kernels/cuda/cudnn_attention_graphs.h"
#include "kernels/cuda/gemm_library.h"
#include "kernels/cuda/recording.h"

namespace selvage::kernels::cuda {
namespace {

using cudnn::AttentionSizes;
using cudnn::AttentionTensors;
using Segments = std::span<AttentionSegment const>;

constexpr std::size_t most_workspace = std::size_t{256} << 20;
constexpr std::int64_t fewest_rows = 128, fewest_positions = 512;  // that a plan is made for

// Plans are made for up to least, least step, least step step, ... Where sequences are not all as long anyway, what
// goes beyond them costs little beside a plan.
std::int64_t bucket(std::int64_t count, std::int64_t least, std::int64_t step) {
    while (least < count) least *= step;
    return least;
}
constexpr std::int64_t decode_step = 2, packed_step = 4;

enum class Kind : std::uint8_t { forward, forward_with_log_sum_exp, decode, backward };

cudnn::AttentionGraph make_graph(Kind kind, AttentionSizes const& sizes) {
    switch (kind) {
        case Kind::decode:
            return decode_graph(sizes);
        case Kind::backward:
            return backward_graph(sizes);
        default:
            return forward_graph(sizes, kind == Kind::forward_with_log_sum_exp);
    }
}

struct Ready {
    AttentionTensors tensors;
    cudnn::Plan plan;
};

// The plans that were asked for, and those that cannot be made.
class Plans {
  public:
    // Null where the library refuses.
    Ready const* find(Kind kind, AttentionSizes const& sizes, Stream& stream) {
        auto const known = plans_.find({kind, sizes});
        if (known != plans_.end()) return known->second ? &*known->second : nullptr;
        must_not_be_recorded(stream);
        std::optional<Ready>& ready = plans_[{kind, sizes}];
        try {
            ready = make(kind, sizes);
        } catch (cudnn::Refusal const& refusal) {
            if (said_.emplace(kind, sizes.heads, sizes.kv_heads, sizes.head_size).second)
                log::info("attention{}: own kernels for {} heads over {} of size {}, as cuDNN refuses them ({})",
                          kind == Kind::backward ? ", backward" : "", sizes.heads, sizes.kv_heads, sizes.head_size,
                          refusal.what());
        }
        return ready ? &*ready : nullptr;
    }
    cudnn::Context& context() { return context_ ? *context_ : context_.emplace(); }

  private:
    Ready make(Kind kind, AttentionSizes const& sizes) {
        // NVIDIA's interface to the library does not sum queries in packed rows either where it is not.
        if (kind == Kind::backward && sizes.head_size % 16 != 0)
            throw cudnn::Refusal("the head size is no multiple of 16");
        cudnn::AttentionGraph const graph = make_graph(kind, sizes);
        return {graph.tensors, graph.graph.plan(cudnn::Target(context()), most_workspace)};
    }

    std::optional<cudnn::Context> context_;
    std::map<std::pair<Kind, AttentionSizes>, std::optional<Ready>> plans_;
    std::set<std::tuple<Kind, std::int64_t, std::int64_t, std::int64_t>> said_;
};

// What the sequences of a call have in common.
struct Batch {
    std::int64_t sequences = 0;
    std::int64_t rows = 0, positions = 0;  // of the longest
    std::int64_t end_row = 0;
    bool is_packed = true;  // sequences lie one behind the other
    bool from_the_start = true;

    explicit Batch(Segments segments) {
        for (AttentionSegment const& segment : segments) {
            is_packed = is_packed && segment.rows > 0 && (sequences == 0 || segment.first_row == end_row);
            from_the_start = from_the_start && segment.first_position == 0;
            end_row = segment.first_row + segment.rows;
            rows = std::max(rows, segment.rows);
            positions = std::max(positions, segment.first_position + segment.rows);
            ++sequences;
        }
    }
};

// Offsets of pieces of the stream's scratch memory.
class Pieces {
  public:
    std::size_t add(std::int64_t bytes) {
        std::size_t const at = bytes_;
        bytes_ += (static_cast<std::size_t>(bytes) + 255) / 256 * 256;
        return at;
    }
    std::byte* take(Stream& stream) const { return scratch<std::byte>(bytes_, stream); }

  private:
    std::size_t bytes_ = 0;
};

class Attention {
  public:
    bool forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages, Segments segments,
                 AttentionSizes sizes, Stream& stream);
    bool backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                  TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values, Segments segments,
                  AttentionSizes sizes, Stream& stream);

  private:
    bool packed(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages, Segments segments,
                AttentionSizes sizes, Stream& stream);
    bool decode(TensorView out, TensorView queries, KvPages const& pages, Segments segments, AttentionSizes sizes,
                Stream& stream);

    // Lists of a call, for what is bound by its `tensors`; what else is bound follows.
    void begin(AttentionTensors const& tensors, AttentionSizes const& sizes, Segments segments, Stream& stream);
    void bind(cudnn::Id tensor, void* memory) { bindings_.push_back({tensor, memory}); }
    void bind(cudnn::Id tensor, TensorView view) { bind(tensor, view.raw()); }
    void bind_pages(AttentionTensors const& tensors, KvPages const& pages) {
        bind(tensors.keys, pages.pages);
        bind(tensors.values, pages.pages.as<BFloat16>() + pages.kv_heads * pages.head_size * kv_page_tokens);
    }
    void run(Ready const& ready, void* workspace, Stream& stream) {
        plans_.context().run(ready.plan, bindings_, workspace, stream.native());
    }

    Plans plans_;
    // Of the call. They outlive it, so that steps do not allocate.
    cudnn::AttentionLists lists_;
    std::vector<cudnn::Binding> bindings_;
};

void Attention::begin(AttentionTensors const& tensors, AttentionSizes const& sizes, Segments segments, Stream& stream) {
    bindings_.clear();
    lists_.make(tensors, sizes, segments);
    auto* const uploaded = const_cast<std::int32_t*>(upload(std::span<std::int32_t const>(lists_.words), stream));
    for (auto const& [tensor, begin] : lists_.places) bind(tensor, uploaded + begin);
}

bool Attention::forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages,
                        Segments segments, AttentionSizes sizes, Stream& stream) {
    // Where a step decodes and prefills, sequences of one row come first.
    auto const longer = std::find_if(segments.begin(), segments.end(), [](auto const& s) { return s.rows != 1; });
    auto const single = log_sum_exp.empty() ? static_cast<std::size_t>(longer - segments.begin()) : 0;
    return (single == 0 || decode(out, queries, pages, segments.first(single), sizes, stream)) &&
           (single == segments.size() ||
            packed(out, log_sum_exp, queries, pages, segments.subspan(single), sizes, stream));
}

bool Attention::packed(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages,
                       Segments segments, AttentionSizes sizes, Stream& stream) {
    Batch const batch(segments);
    if (!batch.is_packed) return false;
    bool const from_rows = batch.from_the_start && !pages.new_keys.empty();
    sizes.sequences = bucket(batch.sequences, 1, packed_step);
    sizes.rows = bucket(batch.rows, fewest_rows, packed_step);
    sizes.positions = from_rows ? sizes.rows : bucket(batch.positions, fewest_positions, packed_step);
    sizes.pages = from_rows ? 0 : pages.pages.dim(0);
    Kind const kind = log_sum_exp.empty() ? Kind::forward : Kind::forward_with_log_sum_exp;
    Ready const* const ready = plans_.find(kind, sizes, stream);
    if (ready == nullptr) return false;
    AttentionTensors const& t = ready->tensors;
    begin(t, sizes, segments, stream);
    bind(t.queries, queries);
    bind(t.out, out);
    if (!log_sum_exp.empty()) bind(t.log_sum_exp, log_sum_exp);
    if (from_rows) {
        bind(t.keys, pages.new_keys);
        bind(t.values, pages.new_values);
    } else {
        bind_pages(t, pages);
    }
    Pieces pieces;
    pieces.add(static_cast<std::int64_t>(ready->plan.workspace_bytes));
    run(*ready, pieces.take(stream), stream);
    return true;
}

// A plan reads and writes the rows of sequences that are not there too: then it works on copies.
bool Attention::decode(TensorView out, TensorView queries, KvPages const& pages, Segments segments,
                       AttentionSizes sizes, Stream& stream) {
    Batch const batch(segments);
    if (!batch.is_packed) return false;
    sizes.sequences = bucket(batch.sequences, 1, decode_step);
    sizes.rows = 1;
    sizes.positions = bucket(batch.positions, fewest_positions, decode_step);
    sizes.pages = pages.pages.dim(0);
    Ready const* const ready = plans_.find(Kind::decode, sizes, stream);
    if (ready == nullptr) return false;
    AttentionTensors const& t = ready->tensors;
    begin(t, sizes, segments, stream);
    bind_pages(t, pages);
    std::int64_t const row_bytes = 2 * sizes.heads * sizes.head_size;
    std::int64_t const first = segments[0].first_row * row_bytes;
    auto const bytes = static_cast<std::size_t>(row_bytes * std::ssize(segments));
    bool const copies = sizes.sequences != std::ssize(segments);
    Pieces pieces;
    std::size_t const workspace = pieces.add(static_cast<std::int64_t>(ready->plan.workspace_bytes));
    std::size_t const queries_at = copies ? pieces.add(row_bytes * sizes.sequences) : 0;
    std::size_t const out_at = copies ? pieces.add(row_bytes * sizes.sequences) : 0;
    std::byte* const memory = pieces.take(stream);
    std::byte* const read = static_cast<std::byte*>(queries.raw()) + first;
    std::byte* const written = static_cast<std::byte*>(out.raw()) + first;
    bind(t.queries, copies ? memory + queries_at : read);
    bind(t.out, copies ? memory + out_at : written);
    if (copies) stream.queue()->copy(memory + queries_at, read, bytes);
    run(*ready, memory + workspace, stream);
    if (copies) stream.queue()->copy(written, memory + out_at, bytes);
    return true;
}

bool Attention::backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                         TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                         Segments segments, AttentionSizes sizes, Stream& stream) {
    Batch const batch(segments);
    if (!batch.is_packed) return false;
    sizes.sequences = bucket(batch.sequences, 1, packed_step);
    sizes.rows = sizes.positions = bucket(batch.rows, fewest_rows, packed_step);
    Ready const* const ready = plans_.find(Kind::backward, sizes, stream);
    if (ready == nullptr) return false;
    AttentionTensors const& t = ready->tensors;
    begin(t, sizes, segments, stream);
    for (auto const& [tensor, view] :
         {std::pair(t.d_queries, d_queries), std::pair(t.d_keys, d_keys), std::pair(t.d_values, d_values),
          std::pair(t.d_out, d_out), std::pair(t.out, out), std::pair(t.log_sum_exp, log_sum_exp),
          std::pair(t.queries, queries), std::pair(t.keys, keys), std::pair(t.values, values)})
        bind(tensor, view);
    std::int64_t const deltas_bytes = 4 * queries.dim(0) * sizes.heads;
    std::int64_t const sums_bytes = deltas_bytes * sizes.head_size;
    Pieces pieces;
    std::size_t const workspace = pieces.add(static_cast<std::int64_t>(ready->plan.workspace_bytes));
    std::size_t const deltas = pieces.add(deltas_bytes), sums = pieces.add(sums_bytes);
    // NVIDIA's interface gives these as much memory as if they were fp32, too.
    bool const shares_keys = sizes.heads != sizes.kv_heads;
    std::size_t const of_keys = shares_keys ? pieces.add(sums_bytes) : 0;
    std::size_t const of_values = shares_keys ? pieces.add(sums_bytes) : 0;
    std::byte* const memory = pieces.take(stream);
    bind(t.deltas, memory + deltas);
    bind(t.query_sums, memory + sums);
    if (shares_keys) {
        bind(t.head_d_keys, memory + of_keys);
        bind(t.head_d_values, memory + of_values);
    }
    plans_.context().clear(memory + sums, static_cast<std::size_t>(sums_bytes), stream.native());
    run(*ready, memory + workspace, stream);
    return true;
}

Attention& attention() {
    static Attention& the_one = *new Attention;  // never destroyed: at exit CUDA may be gone before it
    return the_one;
}

// The graphs have no capped scores and no windows.
bool is_plain(AttentionOptions const& options) {
    if (options.softcap == 0 && options.window == 0) return true;
    static std::once_flag said;
    std::call_once(said, [] { log::info("attention: own kernels where scores are capped or a window slides"); });
    return false;
}

// Offsets have 32 bits.
bool may_be_done(TensorView queries, AttentionOptions const& options) {
    return !batch_invariant() && is_plain(options) && queries.dtype() == DType::bf16 && cudnn::missing().empty() &&
           queries.elements() <= std::numeric_limits<std::int32_t>::max();
}

}  // namespace

bool library_attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages,
                               Segments segments, std::int64_t heads, AttentionOptions const& options, Stream& stream) {
    AttentionSizes const sizes{
        .heads = heads, .kv_heads = pages.kv_heads, .head_size = pages.head_size, .scale = options.scale};
    return may_be_done(queries, options) &&
           attention().forward(out, log_sum_exp, queries, pages, segments, sizes, stream);
}

bool library_attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out,
                                TensorView out, TensorView log_sum_exp, TensorView queries, TensorView keys,
                                TensorView values, Segments segments, AttentionOptions const& options, Stream& stream) {
    AttentionSizes const sizes{
        .heads = queries.dim(1), .kv_heads = keys.dim(1), .head_size = queries.dim(2), .scale = options.scale};
    return may_be_done(queries, options) && attention().backward(d_queries, d_keys, d_values, d_out, out, log_sum_exp,
                                                                 queries, keys, values, segments, sizes, stream);
}

std::string library_attention() {
    if (!cudnn::missing().empty()) return fmt::format("own kernels ({})", cudnn::missing());
    std::size_t const version = cudnn::version();
    return fmt::format("cuDNN {}.{}.{} in bf16 where it supports the heads", version / 10000, version / 100 % 100,
                       version % 100);
}

}  // namespace selvage::kernels::cuda
#else
namespace selvage::kernels::cuda {

bool library_attention_forward(TensorView, TensorView, TensorView, KvPages const&, std::span<AttentionSegment const>,
                               std::int64_t, AttentionOptions const&, Stream&) {
    return false;
}
bool library_attention_backward(TensorView, TensorView, TensorView, TensorView, TensorView, TensorView, TensorView,
                                TensorView, TensorView, std::span<AttentionSegment const>, AttentionOptions const&,
                                Stream&) {
    return false;
}
std::string library_attention() { return "own kernels (this build has no cuDNN)"; }

}  // namespace selvage::kernels::cuda
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The segments of one batch as attention on a device reads them: lists that are made once, for all layers. They lie in
// memory of the plan, so that launches which were recorded (Stream::record_work) find those of the next batch there.
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "device/arena.h"
#include "kernels/attention.h"

namespace selvage::kernels {

// How many of what a batch has: with the number of rows, all that the launches of store_kv() and attention_forward()
// depend on. Zero on the CPU.
struct AttentionSizes {
    unsigned runs = 0;  // rows that are stored in one page
    // Parts of the forward pass (tiles), in the order in which they lie.
    unsigned narrow = 0, wide = 0, merge_narrow = 0, merge_wide = 0;
    bool wide_splits = false;      // a wide tile goes over several splits itself
    std::int32_t state_pairs = 0;  // of tiles that are merged
    auto operator<=>(AttentionSizes const&) const = default;
};

class AttentionPlan {
  public:
    // For layers of these heads, with keys in `dtype`. The arena must outlive it.
    AttentionPlan(Arena& arena, std::int64_t heads, std::int64_t kv_heads, DType dtype)
        : arena_(arena), heads_(heads), kv_heads_(kv_heads), dtype_(dtype) {}

    // rounded_up: numbers of tiles become powers of two, with tiles that do nothing, so that batches of different
    // sequences have the same sizes. Results are the same.
    enum class Sizes : std::uint8_t { exact, rounded_up };
    // The segments, in pages 0 .. page_count - 1, for a batch of `rows`; borrowed until the next call. One copy to the
    // device. Allocates only where a batch takes more memory than any before.
    void make(std::span<AttentionSegment const> segments, std::int64_t rows, std::int64_t page_count, Sizes sizes,
              Stream& stream);
    std::span<AttentionSegment const> segments() const { return segments_; }
    AttentionSizes const& sizes() const { return sizes_; }
    // How often the lists came to lie elsewhere: what was recorded before is then of no use.
    std::int64_t moves() const { return moves_; }

    // For backends: lists of these bytes, in host memory, to be filled and sent; where they lie on the device.
    std::span<std::byte> room_for(std::size_t bytes);
    void send(AttentionSizes const& sizes, Stream& stream);
    std::byte const* lists() const { return static_cast<std::byte const*>(memory_.data()); }
    std::int64_t heads() const { return heads_; }
    std::int64_t kv_heads() const { return kv_heads_; }
    DType dtype() const { return dtype_; }

  private:
    Arena& arena_;
    std::int64_t heads_, kv_heads_;
    DType dtype_;
    std::span<AttentionSegment const> segments_;
    AttentionSizes sizes_;
    std::int64_t moves_ = 0;
    std::size_t used_ = 0;
    std::vector<std::byte> host_;
    Memory memory_;
};

// store_kv() and attention_forward() of the plan's segments.
void store_planned_kv(KvPages pages, TensorView keys, TensorView values, AttentionPlan const& plan, Stream& stream);
void planned_attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages pages,
                               AttentionPlan const& plan, AttentionOptions const& options, Stream& stream);

}  // namespace selvage::kernels

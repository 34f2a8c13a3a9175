// SPDX-License-Identifier: Apache-2.0
#pragma once
// Shard arithmetic, without MPI: how a dim, or a flat vector, is cut over the ranks of an axis.
#include <algorithm>
#include <cstdint>

namespace selvage {

// A half-open range of indices.
struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t size() const { return end - begin; }
    bool contains(std::int64_t index) const { return begin <= index && index < end; }
    Range intersect(Range other) const {
        std::int64_t const first = std::max(begin, other.begin);
        return {first, std::max(first, std::min(end, other.end))};
    }
    bool operator==(Range const&) const = default;
};

// `count` items over `parts` parts as evenly as can be, contiguous, in order: part p has floor((p+1) count / parts) -
// floor(p count / parts) items.
class EvenSplit {
  public:
    EvenSplit(std::int64_t count, std::int64_t parts) : count_(count), parts_(parts) {}
    Range part(std::int64_t p) const { return {p * count_ / parts_, (p + 1) * count_ / parts_}; }
    std::int64_t parts() const { return parts_; }
    std::int64_t owner(std::int64_t item) const {
        std::int64_t p = item * parts_ / std::max<std::int64_t>(count_, 1);
        while (part(p).end <= item) ++p;
        while (part(p).begin > item) --p;
        return p;
    }

  private:
    std::int64_t count_;
    std::int64_t parts_;
};

// A dim of `size` elements cut into whole blocks of `block` (the last may be short), the blocks split evenly.
class BlockSplit {
  public:
    BlockSplit(std::int64_t size, std::int64_t block, std::int64_t parts)
        : size_(size), block_(block), blocks_((size + block - 1) / block, parts) {}
    Range part(std::int64_t p) const {
        Range const r = blocks_.part(p);
        return {std::min(size_, r.begin * block_), std::min(size_, r.end * block_)};
    }
    Range block_range(std::int64_t p) const { return blocks_.part(p); }
    std::int64_t blocks() const { return (size_ + block_ - 1) / block_; }
    std::int64_t block_size() const { return block_; }
    std::int64_t parts() const { return blocks_.parts(); }

  private:
    std::int64_t size_;
    std::int64_t block_;
    EvenSplit blocks_;
};

}  // namespace selvage

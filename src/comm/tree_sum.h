// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/error.h"
#include "comm/ordered.h"

namespace selvage {

// Sums over the tree: row(node) is what one rank made of the node's lanes.
template <class T>
class TreeSum {
  public:
    static constexpr std::size_t add_elements = 2048;  // added up at once: they stay in the cache

    explicit TreeSum(std::int64_t lanes) : lanes_(lanes), sums_(add_elements) {}
    void set_row(LaneNode node, T const* row) { rows_[node] = row; }

    // out[i] = the root's element i, for all of out, which may be one of the rows.
    void sum(std::span<T> out) {
        for (std::size_t at = 0; at < out.size(); at += add_elements) {
            std::span<T> const sums = std::span(sums_).first(std::min<std::size_t>(add_elements, out.size() - at));
            sum_into(1, 0, static_cast<std::int64_t>(at), sums);
            std::copy(sums.begin(), sums.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
        }
    }

  private:
    T const* row(LaneNode node, std::int64_t at) const {
        auto const found = rows_.find(node);
        return found == rows_.end() ? nullptr : found->second + at;
    }
    void sum_into(LaneNode node, std::size_t depth, std::int64_t at, std::span<T> out) {
        if (T const* const values = row(node, at)) {
            std::copy_n(values, out.size(), out.begin());
            return;
        }
        SELVAGE_CHECK(node < lanes_, "lane node {} has no sum", node);
        T const* const left = row(2 * node, at);
        T const* right = row(2 * node + 1, at);
        if (left == nullptr) sum_into(2 * node, depth + 1, at, out);
        if (right == nullptr) {
            if (scratch_.size() <= depth) scratch_.resize(depth + 1);
            scratch_[depth].resize(add_elements);
            std::span<T> const sum = std::span(scratch_[depth]).first(out.size());
            sum_into(2 * node + 1, depth + 1, at, sum);
            right = sum.data();
        }
        // Two loops, each of which vectorises: in the first the compiler knows that it adds in place.
        if (left == nullptr)
            for (std::size_t i = 0; i < out.size(); ++i) out[i] += right[i];
        else
            for (std::size_t i = 0; i < out.size(); ++i) out[i] = left[i] + right[i];
    }

    std::int64_t lanes_;
    std::map<LaneNode, T const*> rows_;
    std::vector<T> sums_;
    std::vector<std::vector<T>> scratch_;  // by depth
};

}  // namespace selvage

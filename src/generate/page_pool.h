// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/attention.h"

namespace selvage {

// Which pages of a KvCache are free. Page numbers have no influence on results.
class PagePool {
  public:
    explicit PagePool(std::int64_t pages) : pages_(pages) {
        for (std::int64_t page = pages; page-- > 0;) free_.push_back(static_cast<std::int32_t>(page));
    }
    std::int64_t pages() const { return pages_; }
    std::int64_t free_pages() const { return static_cast<std::int64_t>(free_.size()); }
    static std::int64_t pages_for(std::int64_t positions) {
        return (positions + kernels::kv_page_tokens - 1) / kernels::kv_page_tokens;
    }
    // Makes `table` long enough for this many positions; false (and nothing taken) if there are not enough free pages.
    bool extend(std::vector<std::int32_t>& table, std::int64_t positions) {
        std::int64_t const missing = pages_for(positions) - static_cast<std::int64_t>(table.size());
        if (missing > free_pages()) return false;
        for (std::int64_t i = 0; i < missing; ++i) {
            table.push_back(free_.back());
            free_.pop_back();
        }
        return true;
    }
    void give_back(std::vector<std::int32_t>& table) {
        free_.insert(free_.end(), table.rbegin(), table.rend());
        table.clear();
    }

  private:
    std::int64_t pages_;
    std::vector<std::int32_t> free_;
};

}  // namespace selvage

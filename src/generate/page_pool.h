// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "text/records.h"

namespace selvage {

// Who uses which page of a KvCache, and what the pages of prompts hold, so that sequences that begin alike share them.
// Page numbers have no influence on results.
class PagePool {
  public:
    explicit PagePool(std::int64_t pages);
    std::int64_t pages() const { return static_cast<std::int64_t>(pages_.size()); }
    std::int64_t free_pages() const { return static_cast<std::int64_t>(free_.size()); }
    static std::int64_t pages_for(std::int64_t positions) {
        return (positions + kernels::kv_page_tokens - 1) / kernels::kv_page_tokens;
    }
    // Makes `table` long enough for this many positions; false (and nothing taken) if there are not enough free pages.
    bool extend(std::vector<std::int32_t>& table, std::int64_t positions);
    // A page is free again when the last of its users gives it back.
    void give_back(std::vector<std::int32_t>& table);

    // Behind page `parent`, whose content and place are those of everything before (no_page: at the beginning), this
    // page holds these 64 tokens, whole, and nobody will write to it. Without effect where such a page is known.
    static constexpr std::int32_t no_page = -1;
    void publish(std::int32_t page, std::int32_t parent, std::span<Token const> tokens);
    // A published page for the tokens behind `parent`.
    std::optional<std::int32_t> find(std::int32_t parent, std::span<Token const> tokens) const;
    // Makes published `page` place `index` of the table, for the page that is there, if there is one.
    void share(std::vector<std::int32_t>& table, std::size_t index, std::int32_t page);

  private:
    struct Page {
        std::int32_t users = 0;
        bool published = false;
        std::int32_t parent = no_page;
        std::int32_t next = no_page;  // in the same bucket
    };
    Page& at(std::int32_t page) { return pages_[static_cast<std::size_t>(page)]; }
    Page const& at(std::int32_t page) const { return pages_[static_cast<std::size_t>(page)]; }
    std::span<Token> tokens_of(std::int32_t page);
    std::size_t bucket_of(std::int32_t parent, std::span<Token const> tokens) const;
    void release(std::int32_t page);

    std::vector<Page> pages_;
    std::vector<std::int32_t> free_;
    std::vector<Token> tokens_;  // of every page that is published
    std::vector<std::int32_t> buckets_;
};

}  // namespace selvage

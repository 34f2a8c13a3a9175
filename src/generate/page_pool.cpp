// SPDX-License-Identifier: Apache-2.0
#include "generate/page_pool.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/philox.h"

namespace selvage {
namespace {

constexpr auto page_size = static_cast<std::size_t>(kernels::kv_page_tokens);

}  // namespace

PagePool::PagePool(std::int64_t pages)
    : pages_(static_cast<std::size_t>(pages)),
      tokens_(static_cast<std::size_t>(pages) * page_size),
      buckets_(std::bit_ceil(static_cast<std::size_t>(std::max<std::int64_t>(pages, 1))), no_page) {
    free_.reserve(pages_.size());
    for (std::int64_t page = pages; page-- > 0;) free_.push_back(static_cast<std::int32_t>(page));
}

bool PagePool::extend(std::vector<std::int32_t>& table, std::int64_t positions) {
    std::int64_t const missing = pages_for(positions) - static_cast<std::int64_t>(table.size());
    if (missing > free_pages()) return false;
    for (std::int64_t i = 0; i < missing; ++i) {
        table.push_back(free_.back());
        free_.pop_back();
        at(table.back()).users = 1;
    }
    return true;
}

void PagePool::give_back(std::vector<std::int32_t>& table) {
    // From the end: whoever uses a page uses those before it too, so that no published page outlives its parent.
    for (; !table.empty(); table.pop_back()) release(table.back());
}

void PagePool::release(std::int32_t number) {
    Page& page = at(number);
    if (--page.users > 0) return;
    if (page.published) {
        std::int32_t* link = &buckets_[bucket_of(page.parent, tokens_of(number))];
        while (*link != number) link = &at(*link).next;
        *link = page.next;
        page.published = false;
    }
    free_.push_back(number);
}

std::span<Token> PagePool::tokens_of(std::int32_t page) {
    return std::span(tokens_).subspan(static_cast<std::size_t>(page) * page_size, page_size);
}

std::size_t PagePool::bucket_of(std::int32_t parent, std::span<Token const> tokens) const {
    std::uint64_t const hash = name_hash(reinterpret_cast<char const*>(tokens.data()), tokens.size_bytes());
    return static_cast<std::size_t>(hash + 0x9E3779B97F4A7C15u * static_cast<std::uint64_t>(parent + 1)) &
           (buckets_.size() - 1);
}

void PagePool::publish(std::int32_t page, std::int32_t parent, std::span<Token const> tokens) {
    SELVAGE_CHECK(tokens.size() == page_size && at(page).users > 0, "a page of {} tokens with {} users", tokens.size(),
                  at(page).users);
    if (at(page).published || find(parent, tokens)) return;
    std::copy(tokens.begin(), tokens.end(), tokens_of(page).begin());
    std::int32_t& bucket = buckets_[bucket_of(parent, tokens)];
    at(page).published = true;
    at(page).parent = parent;
    at(page).next = bucket;
    bucket = page;
}

std::optional<std::int32_t> PagePool::find(std::int32_t parent, std::span<Token const> tokens) const {
    for (std::int32_t page = buckets_[bucket_of(parent, tokens)]; page != no_page; page = at(page).next) {
        Token const* const held = tokens_.data() + static_cast<std::size_t>(page) * page_size;
        if (at(page).parent == parent && std::equal(tokens.begin(), tokens.end(), held)) return page;
    }
    return std::nullopt;
}

void PagePool::share(std::vector<std::int32_t>& table, std::size_t index, std::int32_t page) {
    ++at(page).users;
    if (index == table.size()) return table.push_back(page);
    release(table[index]);
    table[index] = page;
}

}  // namespace selvage

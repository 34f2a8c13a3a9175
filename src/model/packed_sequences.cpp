// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "model/model.h"

namespace selvage {
namespace {

std::int64_t pages_of(std::int64_t length) { return (length + kernels::kv_page_tokens - 1) / kernels::kv_page_tokens; }

}  // namespace

PackedSequences::PackedSequences(std::span<std::int32_t const> tokens, std::span<std::int64_t const> lengths)
    : tokens_(tokens.begin(), tokens.end()) {
    for (std::int64_t const length : lengths) {
        SELVAGE_CHECK(length >= 1, "a sequence of {} tokens", length);
        pages_ += pages_of(length);
    }
    page_tables_.resize(static_cast<std::size_t>(pages_));
    std::iota(page_tables_.begin(), page_tables_.end(), 0);
    positions_.reserve(tokens.size());
    segments_.reserve(lengths.size());
    std::int64_t row = 0;
    std::int64_t page = 0;
    for (std::int64_t const length : lengths) {
        segments_.push_back({row, length, 0,
                             std::span<std::int32_t const>(page_tables_)
                                 .subspan(static_cast<std::size_t>(page), static_cast<std::size_t>(pages_of(length)))});
        for (std::int64_t position = 0; position < length; ++position)
            positions_.push_back(static_cast<std::int32_t>(position));
        row += length;
        page += pages_of(length);
    }
    SELVAGE_CHECK(positions_.size() == tokens.size(), "sequences of {} tokens in {}", row, tokens.size());
}

std::int64_t PackedSequences::pages_for(std::int64_t rows, std::int64_t sequences) {
    // Most pages are begun when every sequence is one token longer than whole pages.
    return (rows + (kernels::kv_page_tokens - 1) * std::min(rows, sequences)) / kernels::kv_page_tokens;
}

}  // namespace selvage

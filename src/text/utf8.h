// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <string_view>

namespace selvage {

// The length of `text` without a character at its end that has begun and may still become whole. Bytes that are no
// UTF-8 count as whole.
std::size_t whole_characters(std::string_view text);

}  // namespace selvage

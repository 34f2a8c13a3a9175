// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io.
#include <optional>
#include <string>
#include <string_view>

namespace selvage::io {

// A name that stands twice in one object of this JSON text, which a parser silently takes for once; none where all
// differ, or where the text is no JSON.
std::optional<std::string> repeated_key(std::string_view json);

}  // namespace selvage::io

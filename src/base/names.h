// SPDX-License-Identifier: Apache-2.0
#pragma once
// "Did you mean": the nearest of some names by edit distance.
#include <span>
#include <string>
#include <string_view>

namespace selvage {

// Empty where nothing is close (distance above a third of the name's length, at least 2).
std::string nearest_name(std::string_view name, std::span<std::string const> candidates);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Values as TOML text that reads back to the same value.
#include <cstdint>
#include <span>
#include <string>

namespace selvage::toml_text {

std::string render(bool value);
std::string render(std::int64_t value);
std::string render(double value);  // shortest that reads back to the same bits; always a TOML float
std::string render(std::string const& value);
std::string render(std::span<std::string const> values);

}  // namespace selvage::toml_text

// SPDX-License-Identifier: Apache-2.0
#include "deck/render.h"

#include <fmt/core.h>

namespace selvage::toml_text {

std::string render(bool value) { return value ? "true" : "false"; }

std::string render(std::int64_t value) { return fmt::format("{}", value); }

std::string render(double value) {
    std::string text = fmt::format("{}", value);
    // Without a point or an exponent TOML would read an integer.
    if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
    return text;
}

std::string render(std::string const& value) {
    std::string text = "\"";
    for (char const c : value) {
        auto const byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            text += '\\';
            text += c;
        } else if (c == '\n') {
            text += "\\n";
        } else if (c == '\t') {
            text += "\\t";
        } else if (byte < 0x20 || byte == 0x7f) {
            text += fmt::format("\\u{:04X}", byte);
        } else {
            text += c;
        }
    }
    return text + "\"";
}

std::string render(std::span<std::string const> values) {
    std::string text;
    for (std::string const& value : values) text += fmt::format("{}{}", text.empty() ? "" : ", ", render(value));
    return fmt::format("[{}]", text);
}

}  // namespace selvage::toml_text

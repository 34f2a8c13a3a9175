// SPDX-License-Identifier: Apache-2.0
#pragma once
// Process-wide log on standard error. Rank 0 speaks; warnings and errors of any rank are printed with its rank.
#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace selvage::log {

enum class Level { debug, info, warning, error };

// Called once by main, before the first message. `size` 1 leaves the rank out of the lines.
void set_rank(int rank, int size);
void set_level(Level level);
bool is_root();  // rank 0, or before set_rank
void write(Level level, std::string_view message);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
// What every rank would say alike: rank 0 says it.
template <class... Args>
void root_warning(fmt::format_string<Args...> format, Args&&... args) {
    if (is_root()) write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace selvage::log

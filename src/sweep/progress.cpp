// SPDX-License-Identifier: Apache-2.0
#include "sweep/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/heartbeat.h"
#include "base/log.h"
#include "sweep/forecast.h"

namespace selvage {
namespace {
constexpr double bar_interval = 0.2;   // seconds between redraws on a terminal
constexpr double line_interval = 5.0;  // seconds between lines in a log
constexpr int bar_width = 24;
}  // namespace

Progress::Progress(std::string title, std::int64_t total, std::string unit, bool speaks, std::optional<double> after)
    : title_(std::move(title)),
      total_(static_cast<double>(std::max<std::int64_t>(total, 1))),
      unit_(std::move(unit)),
      speaks_(speaks),
      terminal_(isatty(STDERR_FILENO) != 0),
      after_(after) {}

Progress::~Progress() {
    if (drawn_) std::fputs("\r\033[K", stderr);
}

void Progress::update(double done, std::string const& note) {
    heartbeat();
    if (!speaks_) return;
    double const now = timer_.seconds();
    if (now - last_ < (terminal_ ? bar_interval : line_interval)) return;
    last_ = now;
    double const rate = done / now;
    std::string const left = rate > 0 ? format_duration((total_ - done) / rate) : "?";
    std::string tail = note.empty() ? "" : "  " + note;
    if (after_ && rate > 0) tail += ", run ends about " + local_time_in((total_ - done) / rate + *after_);
    if (!terminal_) {
        log::info("{}: {:.0f}/{:.0f} {}, {:.1f}/s, {} to go{}", title_, done, total_, unit_, rate, left, tail);
        return;
    }
    int const full = static_cast<int>(bar_width * std::min(1.0, done / total_));
    std::string const bar =
        std::string(static_cast<std::size_t>(full), '=') + std::string(static_cast<std::size_t>(bar_width - full), ' ');
    std::fprintf(stderr, "\r\033[K%s [%s] %.0f/%.0f %s, %.1f/s, %s to go%s", title_.c_str(), bar.c_str(), done, total_,
                 unit_.c_str(), rate, left.c_str(), tail.c_str());
    std::fflush(stderr);
    drawn_ = true;
}

}  // namespace selvage

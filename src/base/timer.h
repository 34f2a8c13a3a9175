// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <chrono>
#include <string>

namespace selvage {

// Seconds of wall time since construction or the last restart.
class Timer {
  public:
    double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
    void restart() { start_ = Clock::now(); }

  private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point start_ = Clock::now();
};

// Now, as ISO 8601 in UTC ("2025-01-31T12:00:00Z").
std::string utc_now();

// "1h02m", "3m05s", "4.2s": for people.
std::string format_duration(double seconds);
// "12.3 MiB": for people.
std::string format_bytes(double bytes);

}  // namespace selvage

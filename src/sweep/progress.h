// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/timer.h"

namespace selvage {

// What a sweep says while it runs: on a terminal a bar with rate and time to go, in a batch log a line every few
// seconds. Rank 0 speaks; the other ranks' calls do nothing but tick the watchdog.
class Progress {
  public:
    // `after`: seconds of the run behind this sweep, where known; with it the run's end is said too.
    Progress(std::string title, std::int64_t total, std::string unit, bool speaks,
             std::optional<double> after = std::nullopt);
    ~Progress();
    Progress(Progress const&) = delete;
    Progress& operator=(Progress const&) = delete;
    // `done` of `total`; `note` stands behind ("loss 2.31").
    void update(double done, std::string const& note = "");
    double seconds() const { return timer_.seconds(); }

  private:
    std::string title_;
    double total_;
    std::string unit_;
    bool speaks_;
    bool terminal_;
    std::optional<double> after_;
    bool drawn_ = false;
    Timer timer_;
    double last_ = 0;
};

}  // namespace selvage

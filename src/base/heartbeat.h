// SPDX-License-Identifier: Apache-2.0
#pragma once
// Signs of life, for the watchdog of a long run. Cheap; any thread.
#include <cstdint>

namespace selvage {

void heartbeat();  // progress was made
std::uint64_t heartbeat_count();

// While one lives this process waits for others: if they hang, it is for their watchdogs to say so.
class WaitingForOthers {
  public:
    WaitingForOthers();
    ~WaitingForOthers();
    WaitingForOthers(WaitingForOthers const&) = delete;
    WaitingForOthers& operator=(WaitingForOthers const&) = delete;
};
bool is_waiting_for_others();

}  // namespace selvage

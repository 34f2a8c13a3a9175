// SPDX-License-Identifier: Apache-2.0
#include "base/heartbeat.h"

#include <atomic>

namespace selvage {
namespace {
std::atomic<std::uint64_t> beats = 0;
std::atomic<int> waiting = 0;
}  // namespace

void heartbeat() { beats.fetch_add(1, std::memory_order_relaxed); }
std::uint64_t heartbeat_count() { return beats.load(std::memory_order_relaxed); }

WaitingForOthers::WaitingForOthers() { waiting.fetch_add(1); }
WaitingForOthers::~WaitingForOthers() {
    waiting.fetch_sub(1);
    heartbeat();
}
bool is_waiting_for_others() { return waiting.load() > 0; }

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dynamic hand-out of items 0..count-1 to the ranks of an axis. Everybody begins with an equal share of the first
// items; then rank 0 keeps the counter and answers by point-to-point messages, so it must call progress() often, and
// the others ask for as many items ahead as they take while an answer is on its way: what one rank holds no other can
// begin.
#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include "comm/communicator.h"

namespace selvage {

class WorkQueue {
  public:
    // Collective. `ahead`: the most items that a rank begins with, or holds without having started them (its streams,
    // usually).
    WorkQueue(Communicator& axis, std::int64_t count, std::int64_t ahead);
    ~WorkQueue();
    // An item if one is here; nullopt may also mean "asked, not answered yet": see exhausted().
    std::optional<std::int64_t> next();
    bool exhausted();
    void progress();
    // Not collective: one rank stops early, and so everyone does. Items not taken are dropped.
    void stop();
    // Some rank stopped early: there is no point in going on.
    bool stopped() const { return stopped_; }
    // Collective, after exhausted() everywhere, or earlier, which is a stop(). Rank 0 serves until all have been told;
    // no message is left in flight.
    void finish();

  private:
    void ask(std::int64_t items);
    void ask_ahead();
    void take_answer(std::span<std::byte const> answer);
    void stop_all();
    void serve(Message const& request);

    Communicator& axis_;
    std::int64_t count_;
    std::int64_t ahead_;
    std::deque<std::int64_t> items_;  // handed out to this rank, not taken yet
    std::int64_t counter_ = 0;        // rank 0: next item to hand out
    int told_ = 0;                    // rank 0: ranks that were told there is nothing more
    std::int64_t reserve_ = 1;        // elsewhere: asks when it holds fewer
    std::int64_t taken_ = 0;          // since the last answer
    bool starved_ = false;            // there was nothing to take since the last answer
    bool asked_ = false;
    bool ended_ = false;      // told that there is nothing more
    bool stopped_ = false;    // by this rank, or told so
    bool told_stop_ = false;  // elsewhere: rank 0's message has come
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Waiting for what may never come: work in a stream that takes part in something with other processes.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

namespace selvage {

class Watch {
  public:
    virtual ~Watch() = default;
    // Throws where what streams wait for will not come; sees to it then that they wait no longer. Any thread.
    virtual void look() = 0;
};

// The watches of a device, which look now and then while the host waits for one of its streams. Any thread.
class Watches {
  public:
    void add(Watch& watch) {
        std::scoped_lock const lock(mutex_);
        watches_.push_back(&watch);
        count_ = watches_.size();
    }
    void remove(Watch& watch) {
        std::scoped_lock const lock(mutex_);
        std::erase(watches_, &watch);
        count_ = watches_.size();
    }
    bool empty() const { return count_ == 0; }

    // Returns when done() is true; throws what a watch throws.
    template <class Done>
    void wait_until(Done const& done) {
        auto next = std::chrono::steady_clock::now() + between_looks;
        while (!done()) {
            auto const now = std::chrono::steady_clock::now();
            if (now < next) continue;
            next = now + between_looks;
            std::scoped_lock const lock(mutex_);
            for (Watch* const watch : watches_) watch->look();
        }
    }

  private:
    static constexpr auto between_looks = std::chrono::milliseconds(1);
    std::mutex mutex_;
    std::vector<Watch*> watches_;
    std::atomic<std::size_t> count_ = 0;
};

}  // namespace selvage

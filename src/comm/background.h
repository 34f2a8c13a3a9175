// SPDX-License-Identifier: Apache-2.0
#pragma once
// Work between ranks that goes on while the caller computes, on a thread with a communicator of its own.
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"
#include "comm/communicator.h"

namespace selvage {

enum class Overlap : std::uint8_t { no, yes };

// The calls in `Work` come with the lock held, on the thread or from work_until().
class Background {
  public:
    struct Work {
        std::function<bool()> step;   // does what can be done without waiting; false: that was nothing
        std::function<bool()> busy;   // whether there is anything to do
        std::function<void()> drop;   // after a failure: gives up what can be given up by now; called several times
        std::function<void()> begin;  // of the thread, before anything else; may be empty
    };
    // Collective. Without Overlap::yes, or where MPI does not allow threads, all work is done in work_until().
    // `ranks` must outlive this. The thread uses what `work` refers to until stop(); transfers must go before this
    // does.
    Background(Communicator& ranks, Overlap overlap, Work work);
    ~Background() { stop(); }
    Background(Background const&) = delete;
    Background& operator=(Background const&) = delete;

    void stop();  // of the thread, in the middle of what it does

    // For the work alone, with small tags. Not while the other thread may use it: take the lock.
    Communicator& communicator() { return *communicator_; }
    bool has_thread() const { return thread_.joinable(); }
    // Holds the thread off. Throws what this or another rank failed with.
    std::unique_lock<std::mutex> lock();
    // There may be something to do.
    void wake() { wake_.notify_one(); }
    // lock() without the lock, where nothing has failed.
    void check() {
        if (failed_.load()) lock();
    }
    // Works here until it is done. Throws as lock() does.
    void work_until(std::function<bool()> const& done);
    // For a rank that cannot go on with what others are in: tells them why; they throw it, with this rank's name, from
    // their next call. Does not wait for anyone. Never throws.
    void abandon(ExitCode code, std::string const& message) noexcept;
    // Time spent in work_until(), from the beginning.
    double seconds() const { return seconds_; }

  private:
    void run();       // of the thread
    bool try_step();  // notes what it throws
    bool hear_of_failure();
    void give_up(std::exception_ptr failure) noexcept;
    void fail_here(ExitCode code, std::string const& message, std::exception_ptr failure) noexcept;

    std::unique_ptr<Communicator> communicator_;
    Work work_;
    double seconds_ = 0;
    std::mutex mutex_;  // guards the following, and what the work uses
    std::condition_variable wake_;
    bool working_here_ = false;  // in work_until()
    bool stopping_ = false;
    std::exception_ptr failure_;
    std::atomic<bool> failed_ = false;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace selvage

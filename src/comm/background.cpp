// SPDX-License-Identifier: Apache-2.0
#include "comm/background.h"

#include <chrono>
#include <optional>
#include <utility>

#include "base/timer.h"
#include "comm/failure_notice.h"

namespace selvage {
namespace {

// The thread looks this often for what has come: a core that it shares with the computation hardly notices.
constexpr auto pause = std::chrono::milliseconds(1);
constexpr auto short_pause = std::chrono::microseconds(50);  // in work_until(), where there is nothing else to do

}  // namespace

Background::Background(Communicator& ranks, Overlap overlap, Work work)
    : communicator_(ranks.duplicate()), work_(std::move(work)) {
    if (overlap == Overlap::yes && ranks.size() > 1 && communicator_->allows_threads())
        thread_ = std::thread([this] { run(); });
}

void Background::stop() {
    {
        std::scoped_lock const lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
}

std::unique_lock<std::mutex> Background::lock() {
    std::unique_lock lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
    return lock;
}

void Background::work_until(std::function<bool()> const& done) {
    Timer const timer;
    std::unique_lock held(mutex_);
    working_here_ = true;
    for (int idle = 0; !failure_ && !done(); ++idle) {
        if (try_step())
            idle = 0;
        else if (idle < 100)
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(short_pause);  // the others may need this core
    }
    working_here_ = false;
    seconds_ += timer.seconds();
    if (failure_) std::rethrow_exception(failure_);
    bool const more = work_.busy();
    held.unlock();
    if (more) wake();
}

void Background::run() {
    if (work_.begin) work_.begin();
    std::unique_lock held(mutex_);
    while (true) {
        wake_.wait(held, [&] { return stopping_ || (!working_here_ && !failure_ && work_.busy()); });
        if (stopping_) return;
        if (!try_step()) wake_.wait_for(held, pause);
    }
}

bool Background::try_step() {
    try {
        return hear_of_failure() || work_.step();
    } catch (Error const& error) {
        fail_here(error.code(), error.what(), std::current_exception());
    } catch (std::exception const& error) {
        fail_here(ExitCode::internal, error.what(), std::current_exception());
    }
    return true;
}

void Background::fail_here(ExitCode code, std::string const& message, std::exception_ptr failure) noexcept {
    give_up(std::move(failure));
    try {
        send_failure(*communicator_, code, message);
    } catch (...) {  // the first failure is the one to report
    }
}

void Background::give_up(std::exception_ptr failure) noexcept {
    failure_ = std::move(failure);
    failed_ = true;
    try {
        work_.drop();
    } catch (...) {  // the first failure is the one to report
    }
}

bool Background::hear_of_failure() {
    std::optional<Error> const failure = poll_failure(*communicator_);
    if (!failure) return false;
    give_up(std::make_exception_ptr(*failure));  // that rank's buffers may be gone soon
    return true;
}

void Background::abandon(ExitCode code, std::string const& message) noexcept try {
    std::scoped_lock const held(mutex_);
    if (failure_) return;  // the others know, or it was one of them
    fail_here(code, message, std::make_exception_ptr(Error(code, message)));
    // What is being sent will be freed: give the others time to take it, and to hear of this.
    for (int i = 0; i < 100; ++i) {
        work_.drop();
        std::this_thread::sleep_for(pause);
    }
} catch (...) {
}

}  // namespace selvage

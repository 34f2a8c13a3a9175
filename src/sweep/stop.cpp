// SPDX-License-Identifier: Apache-2.0
#include "sweep/stop.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/error.h"
#include "base/heartbeat.h"
#include "base/log.h"
#include "base/stack_trace.h"

namespace selvage {
namespace {

volatile std::sig_atomic_t received_signal = 0;
constexpr int handled[] = {SIGUSR1, SIGUSR2, SIGTERM};

void on_signal(int number) {
    if (received_signal != 0) _exit(static_cast<int>(ExitCode::stopped_early));
    received_signal = number;
}

void set_handlers(void (*handler)(int)) {
    for (int const number : handled) {
        struct sigaction action {};
        action.sa_handler = handler;
        action.sa_flags = SA_RESTART;
        sigaction(number, &action, nullptr);
    }
}

}  // namespace

void watch_stop_signals() { set_handlers(on_signal); }

double parse_walltime(std::string const& text) {
    unsigned parts[3];
    char rest = 0;
    int const count = std::sscanf(text.c_str(), "%5u:%2u:%2u%c", &parts[0], &parts[1], &parts[2], &rest);
    if (count == 3 && parts[1] < 60 && parts[2] < 60) return parts[0] * 3600.0 + parts[1] * 60.0 + parts[2];
    if (std::sscanf(text.c_str(), "%5u:%2u%c", &parts[0], &parts[1], &rest) == 2 && parts[1] < 60)
        return parts[0] * 60.0 + parts[1];
    fail(ExitCode::bad_data, "run.walltime is \"{}\"; write hh:mm:ss or mm:ss, for example \"11:30:00\"", text);
}

StopRequest::StopRequest(std::filesystem::path folder, double walltime, double margin, bool watches_folder)
    : folder_(std::move(folder)),
      deadline_(walltime > 0 ? std::max(walltime - margin, walltime / 2) : 0),
      watches_folder_(watches_folder) {}

std::string StopRequest::reason() const {
    if (received_signal != 0) return fmt::format("signal {}", static_cast<int>(received_signal));
    if (deadline_ != 0 && timer_.seconds() > deadline_) return "the wall time (run.walltime) is nearly over";
    constexpr double look_interval = 1;  // seconds
    if (watches_folder_ && timer_.seconds() > looked_ + look_interval) {
        std::error_code ignored;
        found_ = std::filesystem::exists(folder_ / "STOP", ignored);
        looked_ = timer_.seconds();
    }
    if (found_) return "file STOP in the output folder";
    return "";
}

bool StopRequest::agreed(Communicator& world) {
    if (agreed_) return true;
    std::string const mine = reason();
    std::int64_t const first = max_over(world, mine.empty() ? -1 : world.rank());
    if (first < 0) return false;
    std::string const text = broadcast_text(world, mine, static_cast<int>(first));
    log::info("stopping early: {}", text);
    agreed_ = true;
    return true;
}

Watchdog::Watchdog(double minutes, int rank) {
    if (minutes > 0)
        thread_ = std::thread([this, minutes, rank, self = pthread_self()] { watch(minutes, rank, self); });
}

void Watchdog::watch(double minutes, int rank, pthread_t watched) const {
    constexpr std::chrono::milliseconds interval(200), others_time(3000);
    constexpr double longest_interval = 1;  // seconds; a process that was suspended made no progress for good reason
    std::uint64_t seen = heartbeat_count();
    bool told = false;      // of this standstill
    double standstill = 0;  // seconds
    Timer timer;
    while (!ended_) {
        std::this_thread::sleep_for(interval);
        standstill += std::min(timer.seconds(), longest_interval);
        timer.restart();
        std::uint64_t const now = heartbeat_count();
        if (now != seen) {
            seen = now;
            told = false;
            standstill = 0;
        }
        bool const waits = is_waiting_for_others() && standstill < 2 * minutes * 60;
        if (standstill < minutes * 60 || (told && waits)) continue;
        told = true;
        std::fprintf(stderr, "selvage: rank %d made no progress for %g minutes (run.hang_minutes)%s; it is in\n%s",
                     rank, minutes, waits ? ", as it waits for others" : "; ending the job", stack_of(watched).c_str());
        if (waits) continue;
        std::this_thread::sleep_for(others_time);
        std::_Exit(static_cast<int>(ExitCode::system));
    }
}

Watchdog::~Watchdog() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
}

}  // namespace selvage

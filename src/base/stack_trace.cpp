// SPDX-License-Identifier: Apache-2.0
#include "base/stack_trace.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fmt/core.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <thread>

namespace selvage {
namespace {

constexpr int most_frames = 64;
std::array<void*, most_frames> frames;
std::atomic<int> frame_count = -1;  // -1: not answered yet

void take_frames(int) { frame_count = backtrace(frames.data(), most_frames); }

std::string name_of(void* address) {
    Dl_info info{};
    if (dladdr(address, &info) == 0) return fmt::format("{}", address);
    if (info.dli_sname == nullptr)
        return fmt::format("{} + {:#x}", info.dli_fname,
                           static_cast<char*>(address) - static_cast<char*>(info.dli_fbase));
    std::unique_ptr<char, void (*)(void*)> const readable(
        abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, nullptr), std::free);
    return readable ? readable.get() : info.dli_sname;
}

}  // namespace

std::string stack_of(pthread_t thread) {
    void* first = nullptr;
    backtrace(&first, 1);  // it loads a library when it is first called, which a signal handler must not
    struct sigaction action {};
    action.sa_handler = take_frames;
    action.sa_flags = SA_RESTART;
    sigaction(SIGURG, &action, nullptr);
    frame_count = -1;
    pthread_kill(thread, SIGURG);
    for (int waited = 0; frame_count < 0 && waited < 200; ++waited)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    int const count = frame_count;
    if (count < 0) return "    (the thread does not answer)\n";
    std::string text;
    constexpr int of_the_signal = 2;  // the handler, and what called it
    for (int i = of_the_signal; i < count; ++i)
        text += fmt::format("    {}\n", name_of(frames[static_cast<std::size_t>(i)]));
    return text;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Typed errors. A message says what is wrong (and why), then what to do about it.
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace selvage {

// Exit codes of the program (sysexits.h); part of the outward contract.
enum class ExitCode : int {
    done = 0,
    usage = 64,          // bad command line
    bad_data = 65,       // bad deck, key, value or file content
    missing_input = 66,  // an input file is not there
    internal = 70,       // our own bug
    system = 71,         // MPI or GPU failure
    io = 74,             // read or write failure, or the output folder is in use
    stopped_early = 75,  // stopped with everything saved: run the same command again
};

class Error : public std::runtime_error {
  public:
    Error(ExitCode code, std::string const& message) : std::runtime_error(message), code_(code) {}
    ExitCode code() const { return code_; }

  private:
    ExitCode code_;
};

template <class... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
    throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void fail_check(char const* condition, char const* file, int line, std::string const& message);

}  // namespace selvage

// Our own bug: always on, cheap, no side effects inside the condition.
// SELVAGE_CHECK(a == b, "sizes differ: {} and {}", a, b)
#define SELVAGE_CHECK(condition, ...)                                                          \
    do {                                                                                       \
        if (!(condition)) [[unlikely]]                                                         \
            ::selvage::fail_check(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
    } while (false)

// SPDX-License-Identifier: Apache-2.0
#include "fuzz/driver.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <optional>
#include <stdexcept>

#include "base/error.h"

namespace selvage::fuzz {
namespace {

using Clock = std::chrono::steady_clock;

// Shared by parent and child.
struct Progress {
    std::atomic<std::uint64_t> number;    // the case in hand
    std::atomic<std::uint64_t> accepted;  // inputs that were not refused
    std::atomic<bool> done;
};

struct Arguments {
    double seconds = 2;
    std::uint64_t seed = 1;
    std::optional<std::uint64_t> only;
};

Arguments parse(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i + 1 < argc; i += 2) {
        std::string_view const option = argv[i];
        if (option == "--seconds")
            arguments.seconds = std::atof(argv[i + 1]);
        else if (option == "--seed")
            arguments.seed = std::strtoull(argv[i + 1], nullptr, 10);
        else if (option == "--case")
            arguments.only = std::strtoull(argv[i + 1], nullptr, 10);
        else
            throw std::runtime_error(fmt::format("unknown option {}", option));
    }
    return arguments;
}

// True where the input was accepted; findings leave as exceptions.
bool try_one(Target const& target, std::string const& input) {
    try {
        target(input);
        return true;
    } catch (Error const& error) {
        if (error.code() != ExitCode::bad_data) throw;
        require(error.what()[0] != '\0', "an error without a message");
        return false;
    }
}

void limit_memory() {
#ifndef __SANITIZE_ADDRESS__
    // An input must not be able to ask for more memory than its own size warrants.
    rlimit const limit{rlim_t{4} << 30, rlim_t{4} << 30};
    setrlimit(RLIMIT_AS, &limit);
#endif
}

constexpr int in_library = 77;         // exit status of the child
constexpr unsigned longest_case = 10;  // seconds
char const* library_name = "";

// Tells a fault of the library (any frame of the stack lies in it) from one of ours.
void on_signal(int number) {
    void* frames[64];
    int const count = backtrace(frames, 64);
    for (int i = 0; i < count; ++i) {
        Dl_info info;
        if (dladdr(frames[i], &info) != 0 && info.dli_fname != nullptr && std::strstr(info.dli_fname, library_name))
            _exit(in_library);
    }
    std::signal(number, SIG_DFL);
    std::raise(number);
}

void watch_signals(Corpus const& corpus) {
    if (corpus.library.empty()) return;
    library_name = corpus.library.c_str();
    void* frame = nullptr;
    backtrace(&frame, 1);  // loads what it needs now, not inside a handler
    for (int const number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGALRM}) std::signal(number, on_signal);
}

[[noreturn]] void child(Arguments const& arguments, Corpus const& corpus, std::function<Target()> const& make_target,
                        Progress& progress, Clock::time_point end) {
    limit_memory();
    int status = 0;
    try {
        Target const target = make_target();
        watch_signals(corpus);
        for (std::string const& seed : corpus.seeds) target(seed);  // valid: must be accepted
        do {
            std::string const input = Mutator(corpus, arguments.seed, progress.number).make();
            alarm(longest_case);
            if (try_one(target, input)) ++progress.accepted;
            alarm(0);
            ++progress.number;
        } while (!arguments.only && Clock::now() < end);
        progress.done = true;
    } catch (std::exception const& error) {
        std::fprintf(stderr, "exception: %s\n", error.what());
        status = 1;
    }
    std::fflush(nullptr);
    _exit(status);
}

// The child's end: empty where all was well, else what happened.
std::string end_of(pid_t process, Progress const& progress) {
    int status = 0;
    waitpid(process, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) return fmt::format("no end after {} s", longest_case);
    if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
    if (WEXITSTATUS(status) == in_library) return "library";
    return WEXITSTATUS(status) == 0 && progress.done ? "" : fmt::format("exit status {}", WEXITSTATUS(status));
}

}  // namespace

void require(bool condition, char const* what) {
    if (!condition) throw std::logic_error(what);
}

int run(int argc, char** argv, std::string const& name, Corpus const& corpus,
        std::function<Target()> const& make_target) {
    Arguments const arguments = parse(argc, argv);
    void* const memory = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    auto& progress = *new (memory) Progress{};
    progress.number = arguments.only.value_or(0);
    auto const end = Clock::now() + std::chrono::milliseconds(static_cast<int>(arguments.seconds * 1000));

    int findings = 0;
    int library = 0;
    while (!progress.done && findings < 5) {
        std::fflush(stdout);  // else the child prints it again
        pid_t const process = fork();
        if (process == 0) child(arguments, corpus, make_target, progress, end);
        std::string const what = end_of(process, progress);
        if (what.empty()) break;
        if (what == "library") {
            ++library;
            fmt::print("{}: case {} of seed {} ends inside {}\n", name, progress.number.load(), arguments.seed,
                       corpus.library);
        } else {
            ++findings;
            std::string const file = fmt::format("fuzz-{}-{}-{}.bin", name, arguments.seed, progress.number.load());
            std::ofstream(file, std::ios::binary) << Mutator(corpus, arguments.seed, progress.number).make();
            fmt::print("{}: {} on case {} of seed {}; input saved as {}\n", name, what, progress.number.load(),
                       arguments.seed, file);
        }
        ++progress.number;
        if (arguments.only || Clock::now() >= end) break;
    }
    fmt::print("{}: {} cases, {} accepted, {} findings (seed {})\n", name, progress.number.load(),
               progress.accepted.load(), findings, arguments.seed);
    if (library > 0) fmt::print("{}: {} cases ended inside {}\n", name, library, corpus.library);
    return findings == 0 ? 0 : 1;
}

}  // namespace selvage::fuzz

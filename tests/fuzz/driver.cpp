// SPDX-License-Identifier: Apache-2.0
#include "fuzz/driver.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>

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

[[noreturn]] void child(Arguments const& arguments, Corpus const& corpus, std::function<Target()> const& make_target,
                        Progress& progress, Clock::time_point end) {
    limit_memory();
    int status = 0;
    try {
        Target const target = make_target();
        for (std::string const& seed : corpus.seeds) target(seed);  // valid: must be accepted
        do {
            std::string const input = Mutator(corpus, arguments.seed, progress.number).make();
            if (try_one(target, input)) ++progress.accepted;
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
std::string watch(pid_t process, Progress const& progress) {
    auto last_change = Clock::now();
    std::uint64_t last_number = progress.number;
    while (true) {
        int status = 0;
        if (waitpid(process, &status, WNOHANG) == process) {
            if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
            return WEXITSTATUS(status) == 0 && progress.done ? "" : fmt::format("exit status {}", WEXITSTATUS(status));
        }
        if (progress.number != last_number) {
            last_number = progress.number;
            last_change = Clock::now();
        }
        if (Clock::now() - last_change > std::chrono::seconds(30)) {
            kill(process, SIGKILL);
            waitpid(process, &status, 0);
            return "no end after 30 s";
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
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
    while (!progress.done && findings < 5) {
        pid_t const process = fork();
        if (process == 0) child(arguments, corpus, make_target, progress, end);
        std::string const what = watch(process, progress);
        if (what.empty()) break;
        ++findings;
        std::string const file = fmt::format("fuzz-{}-{}-{}.bin", name, arguments.seed, progress.number.load());
        std::string const input = Mutator(corpus, arguments.seed, progress.number).make();
        std::ofstream(file, std::ios::binary) << input;
        fmt::print("{}: {} on case {} of seed {}; input saved as {}\n", name, what, progress.number.load(),
                   arguments.seed, file);
        ++progress.number;
        if (arguments.only || Clock::now() >= end) break;
    }
    fmt::print("{}: {} cases, {} accepted, {} findings (seed {})\n", name, progress.number.load(),
               progress.accepted.load(), findings, arguments.seed);
    return findings == 0 ? 0 : 1;
}

}  // namespace selvage::fuzz

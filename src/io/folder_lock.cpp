// SPDX-License-Identifier: Apache-2.0
#include "io/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "io/posix_file.h"

namespace selvage::io {
namespace {

struct Holder {
    std::string host;
    long process = 0;
    unsigned long long started = 0;  // clock ticks after the machine's start
};

std::string this_host() {
    std::array<char, 256> name{};
    gethostname(name.data(), name.size() - 1);
    return name.data();
}

// Field 22 of /proc/PID/stat; 0: no such process, or no /proc. Process numbers are used again, start times are not.
unsigned long long start_of(long process) {
    std::ifstream file(fmt::format("/proc/{}/stat", process));
    std::string const text((std::istreambuf_iterator<char>(file)), {});
    std::size_t const name_end = text.rfind(')');
    if (name_end == std::string::npos) return 0;
    std::istringstream rest(text.substr(name_end + 1));
    std::string skipped;
    for (int field = 3; field < 22; ++field) rest >> skipped;
    unsigned long long started = 0;
    rest >> started;
    return started;
}

Holder read_holder(int descriptor) {
    std::array<char, 400> text{};
    ssize_t const got = pread(descriptor, text.data(), text.size() - 1, 0);
    Holder holder;
    if (got > 0)
        std::istringstream(std::string(text.data(), static_cast<std::size_t>(got))) >> holder.host >> holder.process >>
            holder.started;
    return holder;
}

void write_holder(int descriptor, std::filesystem::path const& path) {
    std::string const text = fmt::format("{} {} {}\n", this_host(), getpid(), start_of(getpid()));
    if (ftruncate(descriptor, 0) != 0 ||
        pwrite(descriptor, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) || fsync(descriptor) != 0)
        fail_errno("write", path, errno);
}

bool is_alive_here(Holder const& holder) {
    return holder.process > 0 && holder.host == this_host() && start_of(holder.process) == holder.started;
}

enum class Attempt { got_it, held, retry };

// One try to lock the open file; the name must still lead to it, since holders remove it when they leave.
Attempt try_lock(int descriptor, std::filesystem::path const& path) {
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) return Attempt::retry;
        if (errno == EWOULDBLOCK) return Attempt::held;
        // No locks on this file system: the word of the file's text counts.
        if (is_alive_here(read_holder(descriptor))) return Attempt::held;
    }
    struct stat by_name {
    }, by_descriptor{};
    if (stat(path.c_str(), &by_name) != 0 || fstat(descriptor, &by_descriptor) != 0 ||
        by_name.st_ino != by_descriptor.st_ino)
        return Attempt::retry;
    return Attempt::got_it;
}

}  // namespace

FolderLock::FolderLock(std::filesystem::path const& folder, double wait_seconds) : path_(folder / "LOCK") {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) fail_errno("make the folder", folder, error.value());
    Timer const timer;
    bool told = false;
    for (;;) {
        int const descriptor = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor < 0) fail_errno("open", path_, errno);
        Attempt const attempt = try_lock(descriptor, path_);
        Holder const holder = read_holder(descriptor);
        if (attempt == Attempt::got_it) {
            descriptor_ = descriptor;
            if (holder.process > 0)
                log::warning("taking over {} from process {} on {}, which ended without leaving it", folder.string(),
                             holder.process, holder.host);
            try {
                write_holder(descriptor_, path_);
            } catch (...) {
                close(descriptor_);
                throw;
            }
            return;
        }
        close(descriptor);
        if (attempt == Attempt::retry) continue;
        if (timer.seconds() >= wait_seconds)
            fail(ExitCode::io, "{} is in use by process {} on {}; wait for it, end it, or choose another output folder",
                 folder.string(), holder.process, holder.host.empty() ? "an unknown host" : holder.host);
        if (!told)
            log::info("waiting for process {} on {}, which uses {}", holder.process, holder.host, folder.string());
        told = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

FolderLock::~FolderLock() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
    close(descriptor_);
}

}  // namespace selvage::io

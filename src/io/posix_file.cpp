// SPDX-License-Identifier: Apache-2.0
#include "io/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace selvage::io {
namespace {
// Largest single read or write: the kernel's own limit is just below 2 GiB.
constexpr std::size_t piece = std::size_t{1} << 30;
}  // namespace

void fail_errno(char const* verb, std::filesystem::path const& path, int error) {
    char const* advice = "check the path and the file system";
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) advice = "free space on the disk or write elsewhere";
    if (error == EACCES || error == EPERM || error == EROFS) advice = "check its permissions";
    fail(ExitCode::io, "cannot {} {} ({}); {}", verb, path.string(), std::strerror(error), advice);
}

PosixFile::PosixFile(std::filesystem::path path, int flags) : path_(std::move(path)) {
    do descriptor_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0666);
    while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ >= 0) return;
    int const error = errno;
    if ((error == ENOENT || error == ENOTDIR) && (flags & O_CREAT) == 0)
        fail(ExitCode::missing_input, "{} is not there ({}); check the path", path_.string(), std::strerror(error));
    fail_errno("open", path_, error);
}

PosixFile::PosixFile(PosixFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

PosixFile& PosixFile::operator=(PosixFile&& other) noexcept {
    if (this != &other) {
        close();
        path_ = std::move(other.path_);
        descriptor_ = std::exchange(other.descriptor_, -1);
    }
    return *this;
}

void PosixFile::close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

std::int64_t PosixFile::size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail_errno("stat", path_, errno);
    if (!S_ISREG(status.st_mode)) fail(ExitCode::bad_data, "{} is not a regular file; name a file", path_.string());
    return status.st_size;
}

void PosixFile::read(std::span<std::byte> into, std::int64_t offset) const {
    while (!into.empty()) {
        ssize_t const got = ::pread(descriptor_, into.data(), std::min(into.size(), piece), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_errno("read", path_, errno);
        if (got == 0) fail(ExitCode::bad_data, "{} ends at byte {}; it is truncated", path_.string(), offset);
        into = into.subspan(static_cast<std::size_t>(got));
        offset += got;
    }
}

void PosixFile::write(std::span<std::byte const> from, std::int64_t offset) const {
    while (!from.empty()) {
        ssize_t const put = ::pwrite(descriptor_, from.data(), std::min(from.size(), piece), offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) fail_errno("write", path_, errno);
        from = from.subspan(static_cast<std::size_t>(put));
        offset += put;
    }
}

void PosixFile::truncate(std::int64_t size) const {
    if (::ftruncate(descriptor_, size) != 0) fail_errno("truncate", path_, errno);
}

void PosixFile::sync() const {
    if (::fsync(descriptor_) != 0) fail_errno("fsync", path_, errno);
}

void sync_folder(std::filesystem::path const& folder) {
    PosixFile const file(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
    // Some network file systems refuse to sync a directory, and order renames by themselves.
    if (::fsync(file.descriptor()) != 0 && errno != EINVAL && errno != ENOTSUP) fail_errno("fsync", folder, errno);
}

}  // namespace selvage::io

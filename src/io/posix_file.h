// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: an open file descriptor, and reads and writes that are complete or throw.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace selvage::io {

class PosixFile {
  public:
    PosixFile() = default;
    // `flags` of open(2). Errors: missing_input (reading what is not there), io.
    PosixFile(std::filesystem::path path, int flags);
    ~PosixFile() { close(); }
    PosixFile(PosixFile&& other) noexcept;
    PosixFile& operator=(PosixFile&& other) noexcept;

    int descriptor() const { return descriptor_; }
    std::filesystem::path const& path() const { return path_; }
    std::int64_t size() const;
    void read(std::span<std::byte> into, std::int64_t offset) const;
    void write(std::span<std::byte const> from, std::int64_t offset) const;
    void truncate(std::int64_t size) const;
    void sync() const;
    void close();

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
};

// Makes a rename in `folder` last through a power cut.
void sync_folder(std::filesystem::path const& folder);

// "cannot VERB PATH (errno text), advice" as Error(io).
[[noreturn]] void fail_errno(char const* verb, std::filesystem::path const& path, int error);

}  // namespace selvage::io

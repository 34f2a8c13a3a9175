// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <filesystem>
#include <string>

namespace selvage::io {

// Exclusive use of an output folder, from construction to destruction; rank 0 alone. The lock is a file LOCK with host
// name, process and start time, held by an advisory lock where the file system has them. A lock of a dead process on
// this host is taken over; a lock of a living one is waited for, `wait_seconds` at most, then Error(io) names its
// holder. Makes the folder where it is not there (Error(io): cannot).
class FolderLock {
  public:
    FolderLock(std::filesystem::path const& folder, double wait_seconds);
    ~FolderLock();
    FolderLock(FolderLock const&) = delete;
    FolderLock& operator=(FolderLock const&) = delete;

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
};

}  // namespace selvage::io

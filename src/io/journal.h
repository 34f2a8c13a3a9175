// SPDX-License-Identifier: Apache-2.0
#pragma once
// Records that must outlive the process that writes them, one file per rank: what a sweep has finished so far. A file
// is a sequence of
//   uint32 length of the record in bytes, uint32 CRC-32C of the record, the record        (little endian)
// whose first record is a text that says what the others belong to. Records are appended and never changed; what
// follows the first record that is incomplete or damaged does not count. POSIX files, any thread.
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/posix_file.h"

namespace selvage::io {

struct Journal {
    std::string belongs_to;                       // "" where not even the first record is whole
    std::vector<std::vector<std::byte>> records;  // behind it
    std::int64_t good_bytes = 0;                  // of the file, with the first record
    std::int64_t lost_bytes = 0;                  // behind them
};
// Error(io): cannot read. A file that is not there is empty.
Journal read_journal(std::filesystem::path const& path);

// The files FOLDER/NAME.rank-N, in no particular order.
std::vector<std::filesystem::path> journals_of(std::filesystem::path const& folder, std::string const& name);
std::filesystem::path journal_path(std::filesystem::path const& folder, std::string const& name, int rank);

class JournalWriter {
  public:
    // Goes on behind the last good record where the file belongs to the same, else begins it anew. Makes the folder.
    // What was added reaches the disk within some seconds (a thread sees to it), and the kernel at once.
    // Error(io), here and in add(): cannot write.
    JournalWriter(std::filesystem::path const& path, std::string const& belongs_to);
    // Everything is on the disk.
    ~JournalWriter();
    JournalWriter(JournalWriter const&) = delete;
    JournalWriter& operator=(JournalWriter const&) = delete;
    void add(std::span<std::byte const> record);

  private:
    void append(std::span<std::byte const> record);
    void sync_now_and_then();

    PosixFile file_;
    std::int64_t end_ = 0;
    std::mutex mutex_;  // guards the following
    std::condition_variable wake_;
    bool dirty_ = false;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace selvage::io

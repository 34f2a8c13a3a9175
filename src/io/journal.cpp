// SPDX-License-Identifier: Apache-2.0
#include "io/journal.h"

#include <fcntl.h>

#include <algorithm>
#include <boost/crc.hpp>
#include <chrono>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace selvage::io {
namespace {

namespace fs = std::filesystem;

constexpr auto sync_interval = std::chrono::seconds(3);
constexpr std::size_t frame_bytes = 8;

// Castagnoli's polynomial, as in iSCSI (RFC 3720).
std::uint32_t checksum(std::span<std::byte const> bytes) {
    boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
    crc.process_bytes(bytes.data(), bytes.size());
    return crc.checksum();
}

void store(std::byte* to, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}
std::uint32_t load(std::byte const* from) {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value |= static_cast<std::uint32_t>(from[i]) << (8 * i);
    return value;
}

// The record at the front of `rest`, which is cut off; nullopt where it is not whole.
std::optional<std::span<std::byte const>> take_record(std::span<std::byte const>& rest) {
    if (rest.size() < frame_bytes) return std::nullopt;
    std::size_t const length = load(rest.data());
    if (length > rest.size() - frame_bytes) return std::nullopt;
    auto const record = rest.subspan(frame_bytes, length);
    if (checksum(record) != load(rest.data() + 4)) return std::nullopt;
    rest = rest.subspan(frame_bytes + length);
    return record;
}

}  // namespace

Journal read_journal(fs::path const& path) {
    Journal journal;
    if (!fs::exists(path)) return journal;
    PosixFile const file(path, O_RDONLY);
    std::vector<std::byte> bytes(static_cast<std::size_t>(file.size()));
    file.read(bytes, 0);
    std::span<std::byte const> rest(bytes);
    bool is_first = true;
    while (auto const record = take_record(rest)) {
        if (is_first)
            journal.belongs_to.assign(reinterpret_cast<char const*>(record->data()), record->size());
        else
            journal.records.emplace_back(record->begin(), record->end());
        is_first = false;
    }
    journal.lost_bytes = static_cast<std::int64_t>(rest.size());
    journal.good_bytes = static_cast<std::int64_t>(bytes.size() - rest.size());
    return journal;
}

fs::path journal_path(fs::path const& folder, std::string const& name, int rank) {
    return folder / fmt::format("{}.rank-{}", name, rank);
}

std::vector<fs::path> journals_of(fs::path const& folder, std::string const& name) {
    std::vector<fs::path> found;
    std::error_code none;
    for (auto const& entry : fs::directory_iterator(folder, none))
        if (entry.path().filename().string().starts_with(name + ".rank-")) found.push_back(entry.path());
    return found;
}

JournalWriter::JournalWriter(fs::path const& path, std::string const& belongs_to) {
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    Journal const before = read_journal(path);
    file_ = PosixFile(path, O_RDWR | O_CREAT);
    if (before.belongs_to == belongs_to) {
        end_ = before.good_bytes;
        file_.truncate(end_);
    } else {
        file_.truncate(0);
        append(std::as_bytes(std::span(belongs_to)));
    }
    file_.sync();
    sync_folder(path.parent_path());
    thread_ = std::thread([this] { sync_now_and_then(); });
}

JournalWriter::~JournalWriter() {
    {
        std::lock_guard const lock(mutex_);
        ending_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void JournalWriter::add(std::span<std::byte const> record) {
    append(record);
    std::lock_guard const lock(mutex_);
    dirty_ = true;
}

void JournalWriter::append(std::span<std::byte const> record) {
    std::vector<std::byte> framed(frame_bytes + record.size());
    store(framed.data(), static_cast<std::uint32_t>(record.size()));
    store(framed.data() + 4, checksum(record));
    std::copy(record.begin(), record.end(), framed.begin() + frame_bytes);
    file_.write(framed, end_);
    end_ += static_cast<std::int64_t>(framed.size());
}

void JournalWriter::sync_now_and_then() {
    std::unique_lock lock(mutex_);
    while (true) {
        bool const last = wake_.wait_for(lock, sync_interval, [this] { return ending_; });
        if (std::exchange(dirty_, false)) {
            lock.unlock();
            try {
                file_.sync();
            } catch (Error const& error) {
                log::warning("{}: after a crash of this machine its newest drafts may have to be made again",
                             error.what());
            }
            lock.lock();
        }
        if (last) return;
    }
}

}  // namespace selvage::io

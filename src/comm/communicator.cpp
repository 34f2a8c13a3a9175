// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.h"

#include <algorithm>
#include <cstring>

#include "base/heartbeat.h"

namespace selvage {

std::int64_t sum_over(Communicator& communicator, std::int64_t value) {
    communicator.all_reduce({&value, 1}, Reduction::sum);
    return value;
}

std::int64_t max_over(Communicator& communicator, std::int64_t value) {
    communicator.all_reduce({&value, 1}, Reduction::max);
    return value;
}

std::int64_t min_over(Communicator& communicator, std::int64_t value) {
    communicator.all_reduce({&value, 1}, Reduction::min);
    return value;
}

std::string broadcast_text(Communicator& communicator, std::string text, int root) {
    std::uint64_t length = text.size();
    communicator.broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
    text.resize(length);
    communicator.broadcast(std::as_writable_bytes(std::span(text.data(), text.size())), root);
    return text;
}

std::vector<std::vector<std::byte>> gather_bytes(Communicator& communicator, std::span<std::byte const> bytes,
                                                 int root) {
    auto const ranks = static_cast<std::size_t>(communicator.size());
    std::uint64_t const mine = bytes.size();
    std::vector<std::uint64_t> sizes(ranks);
    communicator.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(sizes)));

    bool const here = communicator.rank() == root;
    std::vector<std::size_t> send_counts(ranks), recv_counts(ranks);
    send_counts[static_cast<std::size_t>(root)] = bytes.size();
    std::size_t total = 0;
    for (std::size_t r = 0; here && r < ranks; ++r) total += recv_counts[r] = sizes[r];
    std::vector<std::byte> all(total);
    communicator.all_to_all_v(bytes, send_counts, all, recv_counts);

    std::vector<std::vector<std::byte>> parts;
    std::size_t at = 0;
    for (std::size_t r = 0; here && r < ranks; ++r) {
        parts.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(at),
                           all.begin() + static_cast<std::ptrdiff_t>(at + recv_counts[r]));
        at += recv_counts[r];
    }
    return parts;
}

void agree_on_status(Communicator& communicator, ExitCode code, std::string const& message) {
    int const rank = communicator.rank();
    std::int64_t const failing = code == ExitCode::done ? communicator.size() : rank;
    WaitingForOthers const waiting;
    std::int64_t const first = min_over(communicator, failing);
    if (first == communicator.size()) return;
    std::int64_t first_code = static_cast<std::int64_t>(code);
    communicator.broadcast(std::as_writable_bytes(std::span(&first_code, 1)), static_cast<int>(first));
    std::string const text = broadcast_text(communicator, message, static_cast<int>(first));
    if (code != ExitCode::done) throw Error(code, message);
    throw Error(static_cast<ExitCode>(first_code), fmt::format("{} (on rank {})", text, first));
}

}  // namespace selvage

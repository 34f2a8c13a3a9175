// SPDX-License-Identifier: Apache-2.0
#include "comm/host_shard_exchange.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/timer.h"
#include "comm/failure_notice.h"

namespace selvage {
namespace {

constexpr int data_tag = 1;
constexpr std::size_t slots = 4;        // pieces of this rank that others may be sending at a time
constexpr std::size_t most_staged = 5;  // pieces copied from device memory: on their way to others, or being added up
// The thread looks this often for what has come: a core that it shares with the computation hardly notices.
constexpr auto pause = std::chrono::milliseconds(1);
constexpr auto short_pause = std::chrono::microseconds(50);  // in finish(), where there is nothing else to do

std::span<float> values_of(float* values, std::int64_t width) { return {values, static_cast<std::size_t>(width)}; }

}  // namespace

HostShardExchange::HostShardExchange(Communicator& data, std::int64_t lanes, std::vector<Range> const& shards,
                                     Overlap overlap, std::function<void()> thread_begins, Arena* arena)
    : communicator_(data.duplicate()), rank_(static_cast<std::size_t>(data.rank())), tree_(lanes) {
    auto const ranks = static_cast<std::size_t>(data.size());
    SELVAGE_CHECK(shards.size() == ranks, "{} shards for {} ranks", shards.size(), ranks);
    shard_ = shards[rank_];
    EvenSplit const lane_split(lanes, data.size());
    for (std::size_t r = 0; r < ranks; ++r) {
        nodes_.push_back(subtree_roots(lane_split.part(static_cast<std::int64_t>(r)), lanes));
        for (std::int64_t at = shards[r].begin; at < shards[r].end; at += piece_elements)
            pieces_.push_back({{at, std::min(at + piece_elements, shards[r].end)}, static_cast<int>(r)});
    }
    std::reverse(pieces_.begin(), pieces_.end());
    for (Piece const& piece : pieces_)
        if (piece.owner == data.rank()) own_.push_back(piece);
    flat_size_ = shards.back().end;
    final_from_ = flat_size_;

    std::size_t received = 0;  // vectors
    for (std::size_t r = 0; r < ranks; ++r) received += r == rank_ ? 0 : nodes_[r].size();
    auto const longest = static_cast<std::size_t>(std::min(piece_elements, shard_.size()));
    for (std::size_t i = 0; i < std::min(slots, own_.size()); ++i)
        free_slots_.push_back({{}, std::unique_ptr<float[]>(new float[received * longest]), {}});
    if (arena != nullptr && arena->device().kind() != DeviceKind::cpu) {
        main_ = arena->stream();
        stream_.emplace(arena->device());
        for (std::size_t i = 0; i < most_staged; ++i) staged_.push_back(std::make_unique<Staged>(arena->device()));
    }
    next_ = pieces_.size();  // no step yet
    next_own_ = final_own_ = summed_own_ = own_.size();
    if (overlap == Overlap::yes && ranks > 1 && communicator_->allows_threads())
        thread_ = std::thread([this, begins = std::move(thread_begins)] {
            if (begins) begins();
            work();
        });
}

HostShardExchange::~HostShardExchange() {
    {
        std::scoped_lock const lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void HostShardExchange::begin(std::vector<Row> rows, std::function<void(Range)> on_sum) {
    std::scoped_lock const lock(mutex_);
    rethrow();
    SELVAGE_CHECK(done(), "an exchange in the middle of another");
    rows_ = std::move(rows);
    on_sum_ = std::move(on_sum);
    next_ = next_own_ = final_own_ = summed_own_ = 0;
    started_ = 0;
    final_from_ = flat_size_;
    std::vector<LaneNode> roots;
    for (Row const& row : merged(rows_, 0)) roots.push_back(row.node);
    SELVAGE_CHECK(roots == nodes_[rank_], "rows that do not add up to the subtrees of rank {}", rank_);
}

void HostShardExchange::final_from(std::int64_t first) {
    if (main_) main_->synchronize();
    final_from_.store(std::min(first, final_from_.load(std::memory_order_relaxed)), std::memory_order_release);
    if (failed_.load()) {
        std::scoped_lock const lock(mutex_);
        rethrow();
    }
    wake_.notify_one();
}

void HostShardExchange::finish() {
    if (main_) main_->synchronize();
    Timer const timer;
    final_from_.store(0, std::memory_order_release);
    std::unique_lock lock(mutex_);
    finishing_ = true;
    for (int idle = 0; !failure_ && !done(); ++idle) {
        try {
            if (progress())
                idle = 0;
            else if (idle < 100)
                std::this_thread::yield();
            else
                std::this_thread::sleep_for(short_pause);  // the others may need this core
        } catch (...) {
            failure_ = std::current_exception();
            failed_ = true;
        }
    }
    finishing_ = false;
    seconds_ += timer.seconds();
    rethrow();
}

void HostShardExchange::rethrow() {
    if (failure_) std::rethrow_exception(failure_);
}

void HostShardExchange::work() {
    std::unique_lock lock(mutex_);
    auto const busy = [&] {
        return stopping_ || (!finishing_ && !failure_ && !done() && final_from_.load() < flat_size_);
    };
    while (true) {
        wake_.wait(lock, busy);
        if (stopping_) return;
        try {
            if (progress()) continue;
        } catch (...) {
            failure_ = std::current_exception();
            failed_ = true;
        }
        wake_.wait_for(lock, pause);
    }
}

bool HostShardExchange::progress() {
    if (hear_of_failure()) return true;
    bool moved = false;
    std::int64_t const final = final_from_.load(std::memory_order_acquire);
    for (; next_ < pieces_.size() && pieces_[next_].elements.begin >= final && may_start(pieces_[next_]); ++next_) {
        start(pieces_[next_]);
        ++started_;
        moved = true;
    }
    while (!sends_.empty() && sends_.front().transfer->done()) {
        if (sends_.front().staged != nullptr) --sends_.front().staged->sends;
        sends_.pop_front();
        moved = true;
    }
    post_receives();
    if (slots_in_use_.empty() || summed_own_ == final_own_) return moved;
    Slot& slot = slots_in_use_.front();
    for (auto& transfer : slot.transfers)
        if (transfer && transfer->done()) transfer.reset();
    if (std::any_of(slot.transfers.begin(), slot.transfers.end(),
                    [](auto const& transfer) { return transfer != nullptr; }))
        return moved;
    add_up(slot);
    ++summed_own_;
    free_slots_.push_back(std::move(slot));
    slots_in_use_.pop_front();
    return true;
}

bool HostShardExchange::may_start(Piece const& piece) const {
    // One is left for adding up.
    auto const in_use = std::ranges::count_if(staged_, [](auto const& staged) { return staged->sends > 0; });
    return !stream_ || piece.owner == static_cast<int>(rank_) || in_use + 1 < static_cast<std::ptrdiff_t>(most_staged);
}

// Null where rows are in host memory.
HostShardExchange::Staged* HostShardExchange::free_staged() const {
    auto const found = std::ranges::find_if(staged_, [](auto const& staged) { return staged->sends == 0; });
    return found == staged_.end() ? nullptr : found->get();
}

// The rows with the first of these elements as their first.
std::vector<HostShardExchange::Row> HostShardExchange::rows_of(Range elements, Staged* staged) {
    std::vector<Row> rows = rows_;
    auto const width = static_cast<std::size_t>(elements.size());
    auto* host =
        staged == nullptr ? nullptr : static_cast<float*>(staged->values.at_least(rows.size() * width * sizeof(float)));
    for (Row& row : rows) {
        row.values += elements.begin;
        if (host == nullptr) continue;
        stream_->queue()->download(host, row.values, width * sizeof(float));
        row.values = host;
        host += width;
    }
    return rows;
}

// The rows, of `width` elements, added up as far as this rank can.
std::vector<HostShardExchange::Row> HostShardExchange::merged(std::vector<Row> const& rows, std::int64_t width) {
    std::vector<Row> roots;
    for (Row row : rows) {
        while (row.node % 2 == 1 && !roots.empty() && roots.back().node == row.node - 1) {
            Row const left = roots.back();
            roots.pop_back();
            std::span<float> const to = values_of(left.values, width);
            std::span<float const> const from = values_of(row.values, width);
            for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
            row = {left.node / 2, left.values};
        }
        roots.push_back(row);
    }
    return roots;
}

void HostShardExchange::start(Piece const& piece) {
    if (piece.owner == static_cast<int>(rank_)) {
        ++final_own_;
        return;
    }
    Staged* const staged = free_staged();
    std::int64_t const width = piece.elements.size();
    for (Row const& root : merged(rows_of(piece.elements, staged), width)) {
        auto const bytes = std::as_bytes(values_of(root.values, width));
        sends_.push_back({communicator_->start_send(bytes, piece.owner, data_tag), staged});
        if (staged != nullptr) ++staged->sends;
    }
}

void HostShardExchange::post_receives() {
    while (next_own_ < own_.size() && !free_slots_.empty()) {
        Slot slot = std::move(free_slots_.back());
        free_slots_.pop_back();
        slot.piece = own_[next_own_++];
        slot.transfers.clear();
        auto const width = static_cast<std::size_t>(slot.piece.elements.size());
        float* at = slot.values.get();
        for (std::size_t r = 0; r < nodes_.size(); ++r)
            for (std::size_t i = 0; r != rank_ && i < nodes_[r].size(); ++i, at += width)
                slot.transfers.push_back(communicator_->start_receive(std::as_writable_bytes(std::span(at, width)),
                                                                      static_cast<int>(r), data_tag));
        slots_in_use_.push_back(std::move(slot));
    }
}

void HostShardExchange::add_up(Slot const& slot) {
    Range const elements = slot.piece.elements;
    std::vector<Row> const rows = rows_of(elements, free_staged());
    for (Row const& row : rows) tree_.set_row(row.node, row.values);
    float const* at = slot.values.get();
    for (std::size_t r = 0; r < nodes_.size(); ++r) {
        if (r == rank_) continue;
        for (LaneNode const node : nodes_[r]) {
            tree_.set_row(node, at);
            at += elements.size();
        }
    }
    std::span<float> const sum = values_of(rows.back().values, elements.size());
    tree_.sum(sum);
    if (stream_) {
        stream_->queue()->copy_to_device(rows_.back().values + elements.begin, sum.data(), sum.size_bytes());
        stream_->synchronize();
    }
    if (on_sum_) on_sum_({elements.begin - shard_.begin, elements.end - shard_.begin});
}

bool HostShardExchange::hear_of_failure() {
    std::optional<Error> const failure = poll_failure(*communicator_);
    if (!failure) return false;
    for (Slot& slot : slots_in_use_) slot.transfers.clear();  // that rank's buffers may be gone soon
    failure_ = std::make_exception_ptr(*failure);
    failed_ = true;
    return true;
}

void HostShardExchange::abandon(ExitCode code, std::string const& message) noexcept try {
    std::scoped_lock const lock(mutex_);
    if (failure_) return;  // the others know, or it was one of them
    send_failure(*communicator_, code, message);
    for (Slot& slot : slots_in_use_) slot.transfers.clear();
    failure_ = std::make_exception_ptr(Error(code, message));
    failed_ = true;
    // The rows will be freed: give the others time to take what is on its way, and to hear of it.
    for (int i = 0; i < 100; ++i) {
        std::erase_if(sends_, [](Sending const& sending) { return sending.transfer->done(); });
        std::this_thread::sleep_for(pause);
    }
} catch (...) {
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "comm/shard_gather.h"

#include <algorithm>
#include <utility>

namespace selvage {
namespace {

constexpr int data_tag = 1;
constexpr std::size_t piece_bytes = std::size_t{4} << 20;  // of a rank
constexpr std::size_t most_moving = 4;                     // pieces

}  // namespace

ShardGather::ShardGather(Communicator& ranks, Device& device, Overlap overlap)
    : rank_(static_cast<std::size_t>(ranks.rank())), ranks_(static_cast<std::size_t>(ranks.size())), device_(device) {
    if (device.kind() != DeviceKind::cpu) {
        stream_.emplace(device);
        for (std::size_t i = 0; i < most_moving; ++i)
            free_staging_.push_back(staging_.emplace_back(std::make_unique<HostBuffer>(device)).get());
    }
    Background::Work work;
    work.step = [this] { return step(); };
    work.busy = [this] { return done_ < started_; };
    work.drop = [this] {
        for (Moving& moving : moving_)
            std::erase_if(moving.transfers, [](auto const& transfer) { return transfer->done(); });
    };
    work.begin = [&device] { device.use_on_this_thread(); };
    background_.emplace(ranks, overlap, std::move(work));
}

ShardGather::Ticket ShardGather::start(TensorView all, std::vector<std::size_t> counts, Stream& stream) {
    SELVAGE_CHECK(counts.size() == ranks_, "{} parts for {} ranks", counts.size(), ranks_);
    std::shared_ptr<Event> ready;
    if (stream_) {
        ready = std::make_shared<Event>(device_);
        stream.record(*ready);
    }
    std::size_t const most = *std::ranges::max_element(counts);
    auto const shared = std::make_shared<std::vector<std::size_t> const>(std::move(counts));
    {
        auto const lock = background_->lock();
        ++started_;
        std::size_t first = 0;
        do {  // once where there is nothing: its turn comes like all others'
            waiting_.push_back({started_, static_cast<std::byte*>(all.raw()), shared, ready, first, false});
            first += piece_bytes;
        } while (first < most);
        waiting_.back().is_last = true;
        if (!background_->has_thread()) step();
    }
    background_->wake();
    return started_;
}

void ShardGather::wait(Ticket ticket) {
    if (!is_done(ticket)) background_->work_until([&] { return is_done(ticket); });
}

template <class Use>
void ShardGather::for_each_part(Moving const& moving, Use const& use) const {
    std::byte* there = moving.piece.all;
    auto* here = moving.staged == nullptr ? nullptr : static_cast<std::byte*>(moving.staged->at_least(0));
    for (std::size_t r = 0; r < ranks_; ++r) {
        std::size_t const count = (*moving.piece.counts)[r];
        std::size_t const first = std::min(moving.piece.first, count);
        std::size_t const bytes = std::min(piece_bytes, count - first);
        if (bytes > 0) use(r, there + first, moving.staged == nullptr ? there + first : here, bytes);
        there += count;
        if (here != nullptr) here += bytes;
    }
}

void ShardGather::begin(Moving& moving) {
    if (stream_) {
        moving.staged = free_staging_.back();
        free_staging_.pop_back();
        moving.staged->at_least(ranks_ * piece_bytes);
        stream_->wait(*moving.piece.ready);
    }
    Communicator& communicator = background_->communicator();
    for_each_part(moving, [&](std::size_t r, std::byte* there, std::byte* here, std::size_t bytes) {
        if (r != rank_) {
            moving.transfers.push_back(communicator.start_receive({here, bytes}, static_cast<int>(r), data_tag));
            return;
        }
        if (here != there) stream_->queue()->download(here, there, bytes);
        for (std::size_t other = 0; other < ranks_; ++other)
            if (other != rank_)
                moving.transfers.push_back(communicator.start_send({here, bytes}, static_cast<int>(other), data_tag));
    });
}

// True: all of it is there.
bool ShardGather::advance(Moving& moving) {
    std::erase_if(moving.transfers, [](auto const& transfer) { return transfer->done(); });
    if (!moving.transfers.empty()) return false;
    if (moving.staged == nullptr) return true;
    for_each_part(moving, [&](std::size_t r, std::byte* there, std::byte* here, std::size_t bytes) {
        if (r != rank_) stream_->queue()->copy_to_device(there, here, bytes);
    });
    if (moving.piece.is_last) stream_->synchronize();
    free_staging_.push_back(moving.staged);
    return true;
}

bool ShardGather::step() {
    bool moved = false;
    while (moving_.size() < most_moving && !waiting_.empty()) {
        moving_.push_back({waiting_.front(), nullptr, {}});
        waiting_.pop_front();
        begin(moving_.back());
        moved = true;
    }
    while (!moving_.empty() && advance(moving_.front())) {
        if (moving_.front().piece.is_last) done_ = moving_.front().piece.ticket;
        moving_.pop_front();
        moved = true;
    }
    return moved;
}

}  // namespace selvage

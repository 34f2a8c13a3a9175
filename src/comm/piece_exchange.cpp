// SPDX-License-Identifier: Apache-2.0
#include "comm/piece_exchange.h"

#include <algorithm>
#include <utility>

namespace selvage {
namespace {

constexpr int data_tag = 1;
constexpr std::size_t slots = 4;        // pieces of this rank that others may be sending at a time
constexpr std::size_t most_staged = 5;  // pieces copied from device memory: on their way to others, or being added up

std::span<float> values_of(float* values, std::int64_t width) { return {values, static_cast<std::size_t>(width)}; }

}  // namespace

PieceExchange::PieceExchange(Communicator& data, std::vector<Range> const& shards, std::size_t most_rows,
                             Overlap overlap, std::function<void()> thread_begins, Arena* arena)
    : rank_(static_cast<std::size_t>(data.rank())) {
    auto const ranks = static_cast<std::size_t>(data.size());
    SELVAGE_CHECK(shards.size() == ranks, "{} shards for {} ranks", shards.size(), ranks);
    for (std::size_t r = 0; r < ranks; ++r)
        for (std::int64_t at = shards[r].begin; at < shards[r].end; at += piece_elements)
            pieces_.push_back({{at, std::min(at + piece_elements, shards[r].end)}, static_cast<int>(r)});
    std::reverse(pieces_.begin(), pieces_.end());
    for (Piece const& piece : pieces_)
        if (piece.owner == data.rank()) own_.push_back(piece);
    flat_size_ = shards.back().end;
    final_from_ = flat_size_;

    auto const longest = static_cast<std::size_t>(std::min(piece_elements, shards[rank_].size()));
    for (std::size_t i = 0; i < std::min(slots, own_.size()); ++i)
        free_slots_.push_back({{}, std::unique_ptr<float[]>(new float[most_rows * longest]), {}});
    if (arena != nullptr && arena->device().kind() != DeviceKind::cpu) {
        main_ = arena->stream();
        stream_.emplace(arena->device());
        for (std::size_t i = 0; i < most_staged; ++i) staged_.push_back(std::make_unique<Staged>(arena->device()));
    }
    next_ = pieces_.size();  // no step yet
    next_own_ = final_own_ = handed_own_ = own_.size();
    Background::Work work;
    work.step = [this] { return progress(); };
    work.busy = [this] { return !done() && final_from_.load() < flat_size_; };
    work.drop = [this] { drop(); };
    work.begin = std::move(thread_begins);
    background_.emplace(data, overlap, std::move(work));
}

void PieceExchange::begin(std::vector<Row> rows, std::vector<std::vector<LaneNode>> nodes, OnPiece on_piece) {
    auto const lock = background_->lock();
    SELVAGE_CHECK(done(), "an exchange in the middle of another");
    rows_ = std::move(rows);
    nodes_ = std::move(nodes);
    on_piece_ = std::move(on_piece);
    next_ = next_own_ = final_own_ = handed_own_ = 0;
    started_ = 0;
    final_from_ = flat_size_;
    std::vector<LaneNode> roots;
    for (Row const& row : merged(rows_, 0)) roots.push_back(row.node);
    SELVAGE_CHECK(roots == nodes_[rank_], "rows that do not add up to the subtrees of rank {}", rank_);
}

void PieceExchange::final_from(std::int64_t first) {
    if (main_) main_->synchronize();
    final_from_.store(std::min(first, final_from_.load(std::memory_order_relaxed)), std::memory_order_release);
    background_->check();
    background_->wake();
}

void PieceExchange::finish() {
    if (main_) main_->synchronize();
    final_from_.store(0, std::memory_order_release);
    background_->work_until([this] { return done(); });
}

bool PieceExchange::progress() {
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
    if (slots_in_use_.empty() || handed_own_ == final_own_) return moved;
    Slot& slot = slots_in_use_.front();
    for (auto& transfer : slot.transfers)
        if (transfer && transfer->done()) transfer.reset();
    if (std::any_of(slot.transfers.begin(), slot.transfers.end(),
                    [](auto const& transfer) { return transfer != nullptr; }))
        return moved;
    hand_over(slot);
    ++handed_own_;
    free_slots_.push_back(std::move(slot));
    slots_in_use_.pop_front();
    return true;
}

bool PieceExchange::may_start(Piece const& piece) const {
    // One is left for adding up.
    auto const in_use = std::ranges::count_if(staged_, [](auto const& staged) { return staged->sends > 0; });
    return !stream_ || piece.owner == static_cast<int>(rank_) || in_use + 1 < static_cast<std::ptrdiff_t>(most_staged);
}

// Null where rows are in host memory.
PieceExchange::Staged* PieceExchange::free_staged() const {
    auto const found = std::ranges::find_if(staged_, [](auto const& staged) { return staged->sends == 0; });
    return found == staged_.end() ? nullptr : found->get();
}

// The rows with the first of these elements as their first.
std::vector<PieceExchange::Row> PieceExchange::rows_of(Range elements, Staged* staged) {
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
std::vector<PieceExchange::Row> PieceExchange::merged(std::vector<Row> const& rows, std::int64_t width) {
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

void PieceExchange::start(Piece const& piece) {
    if (piece.owner == static_cast<int>(rank_)) {
        ++final_own_;
        return;
    }
    Staged* const staged = free_staged();
    std::int64_t const width = piece.elements.size();
    for (Row const& root : merged(rows_of(piece.elements, staged), width)) {
        auto const bytes = std::as_bytes(values_of(root.values, width));
        sends_.push_back({background_->communicator().start_send(bytes, piece.owner, data_tag), staged});
        if (staged != nullptr) ++staged->sends;
    }
}

void PieceExchange::post_receives() {
    while (next_own_ < own_.size() && !free_slots_.empty()) {
        Slot slot = std::move(free_slots_.back());
        free_slots_.pop_back();
        slot.piece = own_[next_own_++];
        slot.transfers.clear();
        auto const width = static_cast<std::size_t>(slot.piece.elements.size());
        float* at = slot.values.get();
        for (std::size_t r = 0; r < nodes_.size(); ++r)
            for (std::size_t i = 0; r != rank_ && i < nodes_[r].size(); ++i, at += width)
                slot.transfers.push_back(background_->communicator().start_receive(
                    std::as_writable_bytes(std::span(at, width)), static_cast<int>(r), data_tag));
        slots_in_use_.push_back(std::move(slot));
    }
}

void PieceExchange::hand_over(Slot const& slot) {
    Range const elements = slot.piece.elements;
    std::vector<Row> const own = rows_of(elements, free_staged());
    std::vector<Row> all;
    std::size_t own_end = 0;
    float* at = slot.values.get();
    for (std::size_t r = 0; r < nodes_.size(); ++r) {
        if (r == rank_) {
            all.insert(all.end(), own.begin(), own.end());
            own_end = all.size();
            continue;
        }
        for (LaneNode const node : nodes_[r]) {
            all.push_back({node, at});
            at += elements.size();
        }
    }
    on_piece_({elements, all, own_end, stream_ ? &*stream_ : nullptr});
}

void PieceExchange::drop() {
    for (Slot& slot : slots_in_use_) slot.transfers.clear();
    std::erase_if(sends_, [](Sending const& sending) { return sending.transfer->done(); });
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "comm/device_shard_exchange.h"

#include <algorithm>
#include <numeric>

#include "base/timer.h"
#include "comm/failure_notice.h"

namespace selvage {
namespace {

// Parts of a piece begin at multiples of this, for accesses of 16 bytes and more.
constexpr std::int64_t part_elements = 64;

}  // namespace

DeviceShardExchange::DeviceShardExchange(Arena& arena, std::shared_ptr<DeviceCollectives> collectives,
                                         std::int64_t lanes, std::vector<Range> const& shards, Add add,
                                         std::int64_t piece_elements)
    : collectives_(std::move(collectives)),
      control_(collectives_->ranks().duplicate()),
      device_(arena.device()),
      main_(arena.stream()),
      stream_(arena.device()),
      final_event_(arena.device()),
      add_(std::move(add)),
      lanes_(lanes),
      ranks_(shards.size()),
      rank_(static_cast<std::size_t>(control_->rank())),
      shard_(shards[rank_]),
      send_counts_(ranks_),
      recv_counts_(ranks_) {
    SELVAGE_CHECK(static_cast<int>(ranks_) == control_->size(), "{} shards for {} ranks", ranks_, control_->size());
    EvenSplit const lane_split(lanes, control_->size());
    std::int64_t longest = 0;
    for (std::size_t r = 0; r < ranks_; ++r) {
        nodes_.push_back(subtree_roots(lane_split.part(static_cast<std::int64_t>(r)), lanes));
        turns_ = std::max(turns_, nodes_.back().size());
        for (std::int64_t at = shards[r].begin; at < shards[r].end; at += piece_elements)
            pieces_.push_back({{at, std::min(at + piece_elements, shards[r].end)}, r});
    }
    std::reverse(pieces_.begin(), pieces_.end());
    for (Piece const& piece : pieces_)
        longest = std::max(longest, static_cast<std::int64_t>(part_bytes(piece, rank_) / sizeof(float)));
    plan_sums();
    received_ = Tensor(arena, "gradient exchange", DType::f32,
                       {std::max<std::int64_t>(1, static_cast<std::int64_t>(slots_.size()) * longest)});
    next_ = pieces_.size();  // no step yet
}

void DeviceShardExchange::plan_sums() {
    for (std::size_t turn = 0; turn < turns_; ++turn)
        for (auto const& nodes : nodes_)
            if (turn < nodes.size()) slots_.push_back(nodes[turn]);
    sum_slot_ = plan_sum(1);
}

// The slot where the sum of the node's lanes will be.
std::size_t DeviceShardExchange::plan_sum(LaneNode node) {
    auto const slot = std::ranges::find(slots_, node);
    if (slot != slots_.end()) return static_cast<std::size_t>(slot - slots_.begin());
    SELVAGE_CHECK(node < lanes_, "lane node {} has no sum", node);
    std::size_t const left = plan_sum(2 * node), right = plan_sum(2 * node + 1);
    sums_.push_back({left, right});
    return left;
}

// The rows that are left when right children were added to their left siblings; how, is in merges_.
std::vector<ShardExchange::Row> DeviceShardExchange::merge_rows(std::vector<Row> const& rows) {
    merges_.clear();
    std::vector<Row> roots;
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Row row = rows[i];
        std::size_t index = i;
        while (row.node % 2 == 1 && !roots.empty() && roots.back().node == row.node - 1) {
            merges_.push_back({indices.back(), index});
            row = {roots.back().node / 2, roots.back().values};
            index = indices.back();
            roots.pop_back();
            indices.pop_back();
        }
        roots.push_back(row);
        indices.push_back(index);
    }
    return roots;
}

void DeviceShardExchange::begin(std::vector<Row> rows, OnSum on_sum) {
    hear_of_failure();
    SELVAGE_CHECK(next_ == pieces_.size(), "an exchange in the middle of another");
    rows_ = std::move(rows);
    on_sum_ = std::move(on_sum);
    roots_ = merge_rows(rows_);
    bool const whole =
        std::ranges::equal(roots_, nodes_[rank_], [](Row const& row, LaneNode node) { return row.node == node; });
    SELVAGE_CHECK(whole, "rows that do not add up to the subtrees of rank {}", rank_);
    final_from_ = pieces_.empty() ? 0 : pieces_.front().elements.end;
    next_ = 0;
    started_ = 0;
}

void DeviceShardExchange::final_from(std::int64_t first) {
    hear_of_failure();
    final_from_ = std::min(first, final_from_);
    auto const ready = [&] { return next_ < pieces_.size() && pieces_[next_].elements.begin >= final_from_; };
    if (!ready()) return;
    main_.record(final_event_);
    stream_.wait(final_event_);
    for (; ready(); ++next_) {
        start(pieces_[next_]);
        ++started_;
    }
}

void DeviceShardExchange::finish() {
    final_from(0);
    main_.synchronize();
    Timer const timer;
    device_.watches().wait_until([&] {
        hear_of_failure();
        return stream_.done();
    });
    seconds_ += timer.seconds();
    if (on_sum_ && shard_.size() > 0) on_sum_({0, shard_.size()});
}

std::size_t DeviceShardExchange::part_bytes(Piece const& piece, std::size_t rank) const {
    BlockSplit const parts(piece.elements.size(), part_elements, static_cast<std::int64_t>(ranks_));
    return static_cast<std::size_t>(parts.part(static_cast<std::int64_t>(rank)).size()) * sizeof(float);
}

std::span<std::byte> DeviceShardExchange::bytes_of(float* values, std::int64_t elements) const {
    return {reinterpret_cast<std::byte*>(values), static_cast<std::size_t>(elements) * sizeof(float)};
}

void DeviceShardExchange::add(float* to, float* from, std::int64_t elements) {
    if (elements == 0) return;
    auto const view = [&](float* values) { return TensorView(values, DType::f32, {elements}, device_.kind()); };
    add_(view(to), view(from), stream_);
}

void DeviceShardExchange::start(Piece const& piece) {
    for (Addition const& merge : merges_)
        add(rows_[merge.to].values + piece.elements.begin, rows_[merge.from].values + piece.elements.begin,
            piece.elements.size());
    exchange_roots(piece);
    auto const own = static_cast<std::int64_t>(part_bytes(piece, rank_) / sizeof(float));
    auto const slot = [&](std::size_t index) {
        return received_.view().as<float>() + static_cast<std::int64_t>(index) * own;
    };
    for (Addition const& sum : sums_) add(slot(sum.to), slot(sum.from), own);
    send_sums(piece);
}

// A root of every rank at a time, so that what goes to a rank lies together as it is.
void DeviceShardExchange::exchange_roots(Piece const& piece) {
    float* to = received_.view().as<float>();
    for (std::size_t turn = 0; turn < turns_; ++turn) {
        bool const sends = turn < roots_.size();
        std::size_t received = 0;
        for (std::size_t r = 0; r < ranks_; ++r) {
            send_counts_[r] = sends ? part_bytes(piece, r) : 0;
            recv_counts_[r] = turn < nodes_[r].size() ? part_bytes(piece, rank_) : 0;
            received += recv_counts_[r];
        }
        auto const incoming = static_cast<std::int64_t>(received / sizeof(float));
        auto const outgoing = sends ? bytes_of(roots_[turn].values + piece.elements.begin, piece.elements.size())
                                    : std::span<std::byte>();
        collectives_->all_to_all_v(bytes_of(to, incoming), recv_counts_, outgoing, send_counts_, stream_);
        to += incoming;
    }
}

void DeviceShardExchange::send_sums(Piece const& piece) {
    std::size_t const own = part_bytes(piece, rank_);
    for (std::size_t r = 0; r < ranks_; ++r) {
        send_counts_[r] = r == piece.owner ? own : 0;
        recv_counts_[r] = piece.owner == rank_ ? part_bytes(piece, r) : 0;
    }
    auto const elements = static_cast<std::int64_t>(own / sizeof(float));
    float* const sums = received_.view().as<float>() + static_cast<std::int64_t>(sum_slot_) * elements;
    auto const incoming = piece.owner == rank_
                              ? bytes_of(rows_.back().values + piece.elements.begin, piece.elements.size())
                              : std::span<std::byte>();
    collectives_->all_to_all_v(incoming, recv_counts_, bytes_of(sums, elements), send_counts_, stream_);
}

void DeviceShardExchange::hear_of_failure() {
    if (!failure_) {
        auto const failure = poll_failure(*control_);
        if (!failure) return;
        failure_ = std::make_exception_ptr(*failure);
        collectives_->abort();  // what waits for that rank
    }
    std::rethrow_exception(failure_);
}

void DeviceShardExchange::abandon(ExitCode code, std::string const& message) noexcept try {
    if (failure_) return;  // the others know, or it was one of them
    failure_ = std::make_exception_ptr(Error(code, message));
    send_failure(*control_, code, message);
    collectives_->abort();
} catch (...) {
}

}  // namespace selvage

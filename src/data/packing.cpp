// SPDX-License-Identifier: Apache-2.0
#include "data/packing.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <queue>

#include "base/permutation.h"

namespace selvage {
namespace {

// One permutation per epoch. Position 1 keeps these draws apart from the permutation's own, which have position 0.
Permutation order_of(std::int64_t rows, std::uint64_t seed, std::int64_t round, std::uint32_t epoch) {
    Random const random(seed, Purpose::train_order);
    return {static_cast<std::uint64_t>(rows), seed, Purpose::train_order,
            random.words({static_cast<std::uint32_t>(round), epoch, 1})[0]};
}

// The endless walk of a round through the woven file.
class Walk {
  public:
    Walk(std::int64_t rows, std::uint64_t seed, std::int64_t round)
        : rows_(rows), seed_(seed), round_(round), order_(order_of(rows, seed, round, 0)) {}

    std::int64_t row() const { return static_cast<std::int64_t>(order_(static_cast<std::uint64_t>(at_))); }
    void advance() {
        if (++at_ < rows_) return;
        at_ = 0;
        order_ = order_of(rows_, seed_, round_, ++epoch_);
    }

  private:
    std::int64_t rows_;
    std::uint64_t seed_;
    std::int64_t round_;
    std::int64_t at_ = 0;
    std::uint32_t epoch_ = 0;
    Permutation order_;
};

struct Bin {
    std::int64_t tokens = 0;
    std::vector<std::size_t> members;  // positions in the step's rows
};

// Longest row first into the emptiest of `count` bins, ties to the lower bin. Nothing where a row does not fit: if it
// does not fit the emptiest bin, it fits none.
std::optional<std::vector<Bin>> fill_bins(std::vector<std::int64_t> const& lengths,
                                          std::vector<std::size_t> const& longest_first, std::size_t count,
                                          std::int64_t capacity) {
    std::vector<Bin> bins(count);
    using Entry = std::pair<std::int64_t, std::size_t>;  // tokens, bin
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> emptiest;
    for (std::size_t bin = 0; bin < count; ++bin) emptiest.emplace(0, bin);
    for (std::size_t const row : longest_first) {
        std::size_t const bin = emptiest.top().second;
        if (bins[bin].tokens + lengths[row] > capacity) return std::nullopt;
        emptiest.pop();
        bins[bin].tokens += lengths[row];
        bins[bin].members.push_back(row);
        emptiest.emplace(bins[bin].tokens, bin);
    }
    return bins;
}

// Lane of the i-th bin of a turn: 0, 4, 2, 6, 1, 5, 3, 7 of 8, so that a step with fewer packed rows than lanes still
// spreads over ranks, which have contiguous lanes.
std::size_t lane_of(std::size_t bin, std::size_t lanes) {
    std::size_t lane = 0;
    for (std::size_t bit = 1, weight = lanes / 2; weight > 0; bit *= 2, weight /= 2)
        if ((bin & bit) != 0) lane += weight;
    return lane;
}

// As few micro-batches as hold the rows, the same number for every lane, filled evenly: whoever computes which lanes,
// no rank waits long.
std::vector<std::vector<PackedRow>> pack(std::vector<std::int64_t> const& rows,
                                         std::vector<std::int64_t> const& woven_lengths,
                                         PackingOptions const& options) {
    std::vector<std::int64_t> lengths;
    for (std::int64_t const row : rows) lengths.push_back(woven_lengths[static_cast<std::size_t>(row)]);
    std::vector<std::size_t> longest_first(rows.size());
    std::iota(longest_first.begin(), longest_first.end(), std::size_t{0});
    std::stable_sort(longest_first.begin(), longest_first.end(),
                     [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });

    auto const lanes = static_cast<std::size_t>(options.lanes);
    std::optional<std::vector<Bin>> bins;
    for (std::size_t micro_batches = 1; !bins; ++micro_batches)
        bins = fill_bins(lengths, longest_first, lanes * micro_batches, options.micro_batch_tokens);

    std::vector<std::vector<PackedRow>> out(lanes);
    for (std::size_t bin = 0; bin < bins->size(); ++bin) {
        std::vector<std::size_t>& members = (*bins)[bin].members;
        if (members.empty()) continue;
        std::sort(members.begin(), members.end());  // in the order of the walk
        PackedRow packed;
        for (std::size_t const member : members) packed.indices.push_back(rows[member]);
        out[lane_of(bin % lanes, lanes)].push_back(std::move(packed));
    }
    return out;
}

void check(std::vector<std::int64_t> const& woven_lengths, PackingOptions const& options) {
    if (options.lanes < 1 || (options.lanes & (options.lanes - 1)) != 0)
        fail(ExitCode::bad_data, "train.lanes is {}, which is not a power of two; set it to 1, 2, 4, 8, ...",
             options.lanes);
    if (woven_lengths.empty())
        fail(ExitCode::bad_data, "the woven file has no rows to train on; give more examples or keep more drafts");
    for (std::size_t row = 0; row < woven_lengths.size(); ++row) {
        SELVAGE_CHECK(woven_lengths[row] > 0, "woven row {} has no tokens", row);
        if (woven_lengths[row] > options.micro_batch_tokens)
            fail(ExitCode::bad_data,
                 "row {} of the woven file has {} input tokens, but train.micro_batch_tokens is {} (a row is never "
                 "cut); raise train.micro_batch_tokens to {} or lower data.context",
                 row, woven_lengths[row], options.micro_batch_tokens,
                 *std::max_element(woven_lengths.begin(), woven_lengths.end()));
    }
}

}  // namespace

std::vector<StepPlan> plan_steps(std::vector<std::int64_t> const& woven_lengths, PackingOptions const& options,
                                 std::uint64_t seed, std::int64_t round, std::int64_t first_step, std::int64_t steps) {
    if (steps <= 0) return {};
    check(woven_lengths, options);
    Walk walk(static_cast<std::int64_t>(woven_lengths.size()), seed, round);
    std::vector<StepPlan> plans;
    for (std::int64_t step = first_step; step < first_step + steps; ++step) {
        std::vector<std::int64_t> rows;
        std::int64_t tokens = 0;
        while (true) {
            std::int64_t const row = walk.row();
            std::int64_t const length = woven_lengths[static_cast<std::size_t>(row)];
            if (!rows.empty() && tokens + length > options.batch_tokens) break;
            rows.push_back(row);
            tokens += length;
            walk.advance();
        }
        plans.push_back({step, pack(rows, woven_lengths, options)});
    }
    return plans;
}

std::vector<io::Use> uses_of(std::vector<StepPlan> const& plans, std::vector<std::int64_t> const& woven_lengths) {
    std::vector<io::Use> uses;
    for (StepPlan const& plan : plans) {
        std::int32_t row = 0;
        for (std::size_t lane = 0; lane < plan.lanes.size(); ++lane) {
            for (PackedRow const& packed : plan.lanes[lane]) {
                std::int64_t offset = 0;
                for (std::int64_t const index : packed.indices) {
                    uses.push_back(
                        {plan.step, static_cast<std::int32_t>(lane), row, static_cast<std::int32_t>(offset), index});
                    offset += woven_lengths[static_cast<std::size_t>(index)];
                }
                ++row;
            }
        }
    }
    return uses;
}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <limits>
#include <vector>

#include "comm/lane_values.h"
#include "comm/ordered.h"
#include "comm/shard_exchange.h"

namespace selvage::test {

inline std::vector<Range> even_shards(std::int64_t elements, int ranks) {
    EvenSplit const split(elements, ranks);
    std::vector<Range> shards;
    for (int r = 0; r < ranks; ++r) shards.push_back(split.part(r));
    return shards;
}

// What this rank has of the tree at the start of its last lane: that lane holds NaN yet.
class Lanes {
  public:
    enum class Merged : std::uint8_t { no, yes };  // the lanes before the last
    Lanes(Range mine, std::int64_t lanes, std::int64_t elements, Merged merged)
        : last_(mine.end - 1),
          elements_(elements),
          accumulator_(
              lanes,
              [this] {
                  buffers_.emplace_back(static_cast<std::size_t>(elements_));
                  return buffers_.size() - 1;
              },
              [this](std::size_t to, std::size_t from) {
                  for (std::size_t i = 0; i < buffers_[to].size(); ++i) buffers_[to][i] += buffers_[from][i];
              }) {
        for (std::int64_t lane = mine.begin; lane < last_; ++lane) {
            fill(accumulator_.begin_lane(), lane, {0, elements_});
            if (merged == Merged::yes)
                accumulator_.end_lane(lane);
            else
                accumulator_.keep_lane(lane);
        }
        current_ = accumulator_.begin_lane();
        buffers_[current_].assign(static_cast<std::size_t>(elements_), std::numeric_limits<float>::quiet_NaN());
        accumulator_.keep_lane(last_);
    }
    std::vector<ShardExchange::Row> rows() {
        std::vector<ShardExchange::Row> rows;
        for (auto const& [node, buffer] : accumulator_.roots()) rows.push_back({node, buffers_[buffer].data()});
        return rows;
    }
    void finish(Range elements) { fill(current_, last_, elements); }

  private:
    void fill(std::size_t buffer, std::int64_t lane, Range elements) {
        for (std::int64_t e = elements.begin; e < elements.end; ++e)
            buffers_[buffer][static_cast<std::size_t>(e)] = test::lane_value(lane, e);
    }

    std::int64_t last_, elements_;
    std::vector<std::vector<float>> buffers_;
    LaneAccumulator accumulator_;
    std::size_t current_ = 0;
};

}  // namespace selvage::test

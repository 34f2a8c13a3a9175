// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bins of answer positions for the curves by position: widths double from 8 (0-7, 8-23, 24-55, ...). The last bin has
// no end. Positions count from 0, the first answer token.
#include <bit>
#include <cstdint>

#include "base/error.h"

namespace selvage {

class PositionBins {
  public:
    static constexpr std::int64_t first_width = 8;

    explicit PositionBins(std::int64_t count) : count_(count) {
        SELVAGE_CHECK(count >= 1 && count <= 48, "{} position bins", count);
    }
    std::int64_t count() const { return count_; }
    std::int64_t begin(std::int64_t bin) const { return first_width * ((std::int64_t{1} << bin) - 1); }
    std::int64_t bin_of(std::int64_t position) const {
        // Bin b holds the positions whose (position / 8 + 1) has its highest bit at b.
        std::int64_t const bin =
            static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(position / first_width + 1))) - 1;
        return bin < count_ ? bin : count_ - 1;
    }

  private:
    std::int64_t count_;
};

}  // namespace selvage

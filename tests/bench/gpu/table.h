// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the GPU benchmark prints: a line for each figure, with its share of a ceiling that was measured in the same run.
#include <functional>
#include <string>

#include "device/arena.h"

namespace selvage::bench {

// Of this device.
struct Ceilings {
    double flops = 0;  // per second, of a large bf16 matrix product
    double bytes = 0;  // per second, read and written, of a copy within its memory
};

class Table {
  public:
    explicit Table(Arena& arena, double seconds) : arena_(arena), stream_(arena.stream()), seconds_(seconds) {}
    Arena& arena() const { return arena_; }
    Stream& stream() { return stream_; }
    double seconds() const { return seconds_; }  // that a case is to be measured for

    // Median over five measurements of how long one `work` takes, which may be put into the stream only.
    double seconds_of(std::function<void()> const& work);
    void title(std::string const& text) const;
    // share: of the ceiling; 0: there is none.
    void line(std::string const& name, double value, std::string const& unit, double share = 0) const;
    // Twice: with precision.batch_invariant as it is, "", and set to false, ", free".
    void with_and_without_invariance(std::function<void(std::string const& how)> const& measure) const;
    // What `make` prints; a line that says so where the device has not enough memory for it.
    void where_it_fits(std::string const& name, std::function<void()> const& make) const;

  private:
    Arena& arena_;
    Stream stream_;
    double seconds_;
};

}  // namespace selvage::bench

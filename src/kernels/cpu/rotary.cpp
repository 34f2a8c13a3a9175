// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <vector>

#include "kernels/arguments.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels::cpu {
namespace {

// Cosines, then sines, [positions][rotated / 2] each row pair; computed in double, kept for the process, growing by
// doubling. Called from the main thread only, as all kernels.
class AngleTable {
  public:
    explicit AngleTable(RotaryOptions const& options) : options_(options) {
        for (std::int64_t i = 0; i < options.rotated / 2; ++i) frequencies_.push_back(options.frequency(i));
    }
    void require(std::int64_t positions) {
        if (positions <= positions_) return;
        auto const wanted = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(positions)));
        std::int64_t const half = options_.rotated / 2;
        values_.resize(static_cast<std::size_t>(wanted * options_.rotated));
        for (std::int64_t p = positions_; p < wanted; ++p)
            for (std::int64_t i = 0; i < half; ++i) {
                double const angle = static_cast<double>(p) * frequencies_[static_cast<std::size_t>(i)];
                float* const row = values_.data() + p * options_.rotated;
                row[i] = static_cast<float>(std::cos(angle));
                row[half + i] = static_cast<float>(std::sin(angle));
            }
        positions_ = wanted;
    }
    float const* row(std::int64_t position) const { return values_.data() + position * options_.rotated; }

  private:
    RotaryOptions options_;
    std::vector<double> frequencies_;
    std::int64_t positions_ = 0;
    std::vector<float> values_;
};

AngleTable& angle_table(RotaryOptions const& options) {
    static std::map<RotaryOptions, AngleTable> tables;
    return tables.try_emplace(options, options).first->second;
}

void turn(TensorView x, TensorView positions, RotaryOptions const& options, float sign) {
    if (x.empty() || options.rotated == 0) return;
    std::int64_t const rows = x.dim(0);
    std::int64_t const heads = x.dim(1);
    std::int64_t const head_size = x.dim(2);
    std::int64_t const half = options.rotated / 2;
    SELVAGE_CHECK(options.rotated % 2 == 0 && options.rotated <= head_size && positions.elements() == rows,
                  "rotary over {} dims of {} with {} positions", options.rotated, x.shape().text(),
                  positions.elements());
    std::int32_t const* const p = positions.as<std::int32_t>();
    auto const [least, largest] = std::minmax_element(p, p + rows);
    SELVAGE_CHECK(*least >= 0, "position {}", *least);
    AngleTable& angles = angle_table(options);
    angles.require(*largest + 1);
    with_element(x, [&]<class E>() {
        E* const data = x.as<E>();
        parallel_for(rows, 1, 2 * x.elements(), [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                float const* const cosine = angles.row(p[row]);
                kernel_table().of<E>().rotate(data + row * heads * head_size, cosine, cosine + half, sign, heads,
                                              head_size, half);
            }
        });
    });
}

}  // namespace

void rotary_forward(TensorView x, TensorView positions, RotaryOptions const& options, Stream&) {
    turn(x, positions, options, 1.0F);
}

void rotary_backward(TensorView d_x, TensorView positions, RotaryOptions const& options, Stream&) {
    turn(d_x, positions, options, -1.0F);
}

void fill_rotary(Operations& operations) {
    operations.rotary_forward = rotary_forward;
    operations.rotary_backward = rotary_backward;
}

}  // namespace selvage::kernels::cpu

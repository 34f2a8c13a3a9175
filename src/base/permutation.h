// SPDX-License-Identifier: Apache-2.0
#pragma once
// A keyed permutation of 0..size-1 that is evaluated at one index, without a table: a four-round Feistel network on
// Philox over the next power of four, walked until the value is in range ("cycle walking").
#include <cstdint>

#include "base/error.h"
#include "base/philox.h"

namespace selvage {

class Permutation {
  public:
    // `stream` tells permutations of one seed and purpose apart (an epoch, a round).
    Permutation(std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint32_t stream)
        : size_(size), random_(seed, purpose), stream_(stream) {
        SELVAGE_CHECK(size > 0, "a permutation of nothing");
        while (half_bits_ < 31 && (std::uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
    }

    std::uint64_t size() const { return size_; }

    std::uint64_t operator()(std::uint64_t index) const {
        SELVAGE_CHECK(index < size_, "permutation index {} of {}", index, size_);
        do index = encrypt(index);
        while (index >= size_);
        return index;
    }

  private:
    std::uint64_t encrypt(std::uint64_t value) const {
        std::uint32_t const mask = static_cast<std::uint32_t>((std::uint64_t{1} << half_bits_) - 1);
        std::uint32_t left = static_cast<std::uint32_t>(value >> half_bits_) & mask;
        std::uint32_t right = static_cast<std::uint32_t>(value) & mask;
        for (std::uint8_t round = 0; round < 4; ++round) {
            std::uint32_t const mixed = random_.words({stream_, right, 0, 0, 0, round})[0] & mask;
            std::uint32_t const next = left ^ mixed;
            left = right;
            right = next;
        }
        return std::uint64_t{left} << half_bits_ | right;
    }

    std::uint64_t size_;
    Random random_;
    std::uint32_t stream_;
    unsigned half_bits_ = 1;
};

}  // namespace selvage

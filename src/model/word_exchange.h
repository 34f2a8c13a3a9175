// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"

namespace selvage {

// Records of 8 bytes, from every rank to every rank.
class WordExchange {
  public:
    explicit WordExchange(Communicator& axis);
    template <class T>
    void put(T const& record) {
        own_.push_back(std::bit_cast<std::uint64_t>(record));
    }
    // Collective: sends what was put since the last time. Rank r put counts[r] records; without counts all put as many.
    void gather(std::span<std::size_t const> counts = {});
    template <class T>
    T get(std::size_t rank, std::size_t index) const {
        return std::bit_cast<T>(all_[first_[rank] + index]);
    }

  private:
    Communicator& axis_;
    std::vector<std::uint64_t> own_, all_;
    std::vector<std::size_t> first_, bytes_;  // by rank
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "device/arena.h"

#include <algorithm>
#include <utility>

namespace selvage {

Memory::Memory(Arena& arena, std::string name, void* data, std::size_t bytes)
    : arena_(&arena), name_(std::move(name)), data_(data), bytes_(bytes) {}

Memory::Memory(Memory&& other) noexcept
    : arena_(std::exchange(other.arena_, nullptr)),
      name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
    if (this != &other) {
        reset();
        arena_ = std::exchange(other.arena_, nullptr);
        name_ = std::move(other.name_);
        data_ = std::exchange(other.data_, nullptr);
        bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
}

Memory::~Memory() { reset(); }

void Memory::reset() noexcept {
    if (arena_ != nullptr) arena_->release(name_, data_, bytes_);
    arena_ = nullptr;
}

Memory Arena::allocate(std::string name, std::size_t bytes) {
    void* const data = bytes == 0 ? nullptr : device_.allocate(bytes);
    std::size_t const now = blocks_[name] += bytes;
    std::size_t& most = peaks_[name];
    most = std::max(most, now);
    in_use_ += bytes;
    peak_ = std::max(peak_, in_use_);
    return Memory(*this, std::move(name), data, bytes);
}

void Arena::release(std::string const& name, void* data, std::size_t bytes) noexcept {
    if (data != nullptr) device_.release(data, bytes);
    in_use_ -= bytes;
    auto const block = blocks_.find(name);
    if (block != blocks_.end() && (block->second -= bytes) == 0) blocks_.erase(block);
}

std::vector<std::pair<std::string, std::size_t>> Arena::report() const {
    std::vector<std::pair<std::string, std::size_t>> rows(blocks_.begin(), blocks_.end());
    std::stable_sort(rows.begin(), rows.end(), [](auto const& a, auto const& b) { return a.second > b.second; });
    return rows;
}

}  // namespace selvage

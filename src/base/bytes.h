// SPDX-License-Identifier: Apache-2.0
#pragma once
// Plain records to bytes and back, for messages between ranks of one job (same machine type, same program).
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace selvage {

class ByteWriter {
  public:
    template <class T>
    requires std::is_trivially_copyable_v<T>
    void put(T const& value) {
        auto const* const first = reinterpret_cast<std::byte const*>(&value);
        bytes_.insert(bytes_.end(), first, first + sizeof(T));
    }
    template <class T>
    requires std::is_trivially_copyable_v<T>
    void put(std::vector<T> const& values) {
        put(static_cast<std::uint64_t>(values.size()));
        auto const* const first = reinterpret_cast<std::byte const*>(values.data());
        bytes_.insert(bytes_.end(), first, first + values.size() * sizeof(T));
    }
    std::span<std::byte const> bytes() const { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

class ByteReader {
  public:
    explicit ByteReader(std::span<std::byte const> bytes) : bytes_(bytes) {}
    bool at_end() const { return bytes_.empty(); }
    template <class T>
    requires std::is_trivially_copyable_v<T>
    void get(T& value) { take(&value, sizeof(T)); }
    template <class T>
    requires std::is_trivially_copyable_v<T>
    void get(std::vector<T>& values) {
        std::uint64_t count = 0;
        get(count);
        SELVAGE_CHECK(count <= bytes_.size() / sizeof(T), "a record of {} elements in {} bytes", count, bytes_.size());
        values.resize(count);
        take(values.data(), count * sizeof(T));
    }

  private:
    void take(void* to, std::size_t count) {
        SELVAGE_CHECK(count <= bytes_.size(), "a record ends early");
        if (count > 0) std::memcpy(to, bytes_.data(), count);
        bytes_ = bytes_.subspan(count);
    }
    std::span<std::byte const> bytes_;
};

}  // namespace selvage

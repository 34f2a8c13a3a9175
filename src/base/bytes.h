// SPDX-License-Identifier: Apache-2.0
#pragma once
// Plain records to bytes and back, for messages between ranks of one job (same machine type, same program). A record's
// fields are named once, in a function of (stream, record) that serves both directions:
//   constexpr auto point_fields = [](auto& stream, auto& point) { stream.value(point.x); stream.list(point.tags); };
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace selvage {

class ByteWriter {
  public:
    template <class T>
    void value(T const& item) {
        static_assert(std::is_trivially_copyable_v<T>);
        auto const* const first = reinterpret_cast<std::byte const*>(&item);
        bytes_.insert(bytes_.end(), first, first + sizeof(T));
    }
    // Of plain values, or of records by their fields.
    template <class T>
    void list(std::vector<T> const& items) {
        list(items, [](auto& stream, auto& item) { stream.value(item); });
    }
    template <class T, class Fields>
    void list(std::vector<T> const& items, Fields&& fields) {
        value(static_cast<std::uint64_t>(items.size()));
        for (T const& item : items) fields(*this, item);
    }
    std::span<std::byte const> bytes() const { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

class ByteReader {
  public:
    explicit ByteReader(std::span<std::byte const> bytes) : rest_(bytes) {}
    template <class T>
    void value(T& item) {
        static_assert(std::is_trivially_copyable_v<T>);
        SELVAGE_CHECK(rest_.size() >= sizeof(T), "a message ends early");
        std::memcpy(&item, rest_.data(), sizeof(T));
        rest_ = rest_.subspan(sizeof(T));
    }
    template <class T>
    void list(std::vector<T>& items) {
        list(items, [](auto& stream, auto& item) { stream.value(item); });
    }
    template <class T, class Fields>
    void list(std::vector<T>& items, Fields&& fields) {
        std::uint64_t count = 0;
        value(count);
        SELVAGE_CHECK(count <= rest_.size(), "a list of {} items in {} bytes", count, rest_.size());
        items.resize(count);
        for (T& item : items) fields(*this, item);
    }
    bool at_end() const { return rest_.empty(); }

  private:
    std::span<std::byte const> rest_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "io/heap_guard.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace selvage::io {
namespace {

// HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E - Global Heap": signature, version 1, three zero
// bytes, size of the collection; then objects: index (2 bytes), references (2), four zero bytes, size (8), data padded
// to 8. Index 0 is free space, whose size counts its own header.
constexpr std::string_view opening("GCOL\1\0\0\0", 8);
constexpr std::uint64_t header_bytes = 16;

std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = width; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

bool ends_at_its_end(std::string_view heap) {
    std::uint64_t at = header_bytes;
    while (heap.size() - at >= header_bytes) {
        std::uint64_t const left = heap.size() - at;
        std::uint64_t const index = number_at(heap, at, 2);
        std::uint64_t const size = number_at(heap, at + 8, 8);
        if (size > left) return false;
        std::uint64_t const taken = index == 0 ? size : header_bytes + (size + 7) / 8 * 8;
        if (taken < header_bytes || taken > left) return false;
        at += taken;
    }
    return true;
}

}  // namespace

void check_global_heaps(PosixFile const& file) {
    constexpr std::int64_t piece = std::int64_t{1} << 24;
    std::int64_t const bytes = file.size();
    std::string buffer;
    for (std::int64_t from = 0; from < bytes; from += piece) {
        // A header may lie across the end of a piece.
        buffer.resize(static_cast<std::size_t>(std::min(piece + 15, bytes - from)));
        file.read(std::as_writable_bytes(std::span(buffer)), from);
        for (std::size_t at = buffer.find(opening); at != std::string::npos; at = buffer.find(opening, at + 1)) {
            if (at + header_bytes > buffer.size()) break;
            auto const begin = from + static_cast<std::int64_t>(at);
            std::uint64_t const size = number_at(buffer, at + 8, 8);
            // Heaps of attributes are small; anything larger than the file is damage.
            bool whole = size >= header_bytes && size <= static_cast<std::uint64_t>(bytes - begin);
            if (whole) {
                std::string heap(size, '\0');
                file.read(std::as_writable_bytes(std::span(heap)), begin);
                whole = ends_at_its_end(heap);
            }
            if (!whole)
                fail(ExitCode::bad_data,
                     "{} is damaged (the global heap at byte {} does not hold together); use another copy",
                     file.path().string(), begin);
        }
    }
}

}  // namespace selvage::io

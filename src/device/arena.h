// SPDX-License-Identifier: Apache-2.0
#pragma once
// Every block of device memory has a name, so that the log can say what the memory is for.
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "device/device.h"

namespace selvage {

class Arena;

// Owner of one named block; move-only. The arena must outlive it.
class Memory {
  public:
    Memory() = default;
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&& other) noexcept;
    ~Memory();
    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

  private:
    friend class Arena;
    Memory(Arena& arena, std::string name, void* data, std::size_t bytes);
    void reset() noexcept;
    Arena* arena_ = nullptr;
    std::string name_;
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

// Not thread-safe: one per process, used by the main thread.
class Arena {
  public:
    explicit Arena(Device& device) : device_(device), stream_(device) {}
    Arena(Arena const&) = delete;
    Arena& operator=(Arena const&) = delete;

    Memory allocate(std::string name, std::size_t bytes);
    Device& device() const { return device_; }
    // The stream that all of the main thread's work goes into, so that what comes later sees what came before.
    Stream stream() const { return stream_; }
    std::size_t in_use() const { return in_use_; }
    std::size_t peak() const { return peak_; }
    // Name and bytes of the blocks alive now, summed by name, largest first.
    std::vector<std::pair<std::string, std::size_t>> report() const;

    // The most that the blocks of each name took at a time.
    std::map<std::string, std::size_t> const& peaks() const { return peaks_; }

  private:
    friend class Memory;
    void release(std::string const& name, void* data, std::size_t bytes) noexcept;
    Device& device_;
    Stream stream_;
    std::map<std::string, std::size_t> blocks_, peaks_;
    std::size_t in_use_ = 0;
    std::size_t peak_ = 0;
};

}  // namespace selvage

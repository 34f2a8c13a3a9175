// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/emulation/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string_view>

#include "base/error.h"
#include "device/cuda/emulation/language.h"

namespace selvage::emulation {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t alignment = 256;
constexpr std::size_t reserved_bytes = std::size_t{256} << 30;  // of address space

bool wanted() {
#ifdef SELVAGE_SANITIZED
    return false;
#else
    char const* const value = std::getenv("SELVAGE_EMULATION_TRAP");
    return value == nullptr || std::string_view(value) != "off";
#endif
}

// A range of address space whose first `used_` bytes are blocks, free or not, of whole pages.
class Region {
  public:
    Region() {
        if (!wanted()) return;
        void* const memory =
            mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            fail(ExitCode::system,
                 "no room for the memory of the emulated device (mmap: {}); set SELVAGE_EMULATION_TRAP=off",
                 std::strerror(errno));
        base_ = static_cast<std::byte*>(memory);
    }

    void* allocate(std::size_t bytes) {
        std::size_t const size = whole_pages(bytes);
        if (base_ == nullptr) {
            // To the byte, so that sanitizers see where it ends.
            void* const memory = ::operator new (std::max<std::size_t>(bytes, 1), std::align_val_t{alignment});
            std::memset(memory, 0, bytes);
            return memory;
        }
        std::scoped_lock const lock(mutex_);
        auto const fits =
            std::find_if(free_.begin(), free_.end(), [&](auto const& block) { return block.second >= size; });
        if (fits != free_.end()) {
            auto const [offset, left] = *fits;
            free_.erase(fits);
            if (left > size) free_[offset + size] = left - size;
            return base_ + offset;
        }
        if (size > reserved_bytes - used_) throw std::bad_alloc();
        std::size_t const offset = used_;
        used_ += size;
        if (open_ > 0) protect(PROT_READ | PROT_WRITE);
        return base_ + offset;
    }

    void release(void* memory, std::size_t bytes) noexcept {
        if (base_ == nullptr) return ::operator delete (memory, std::align_val_t{alignment});
        std::scoped_lock const lock(mutex_);
        std::size_t offset = static_cast<std::size_t>(static_cast<std::byte*>(memory) - base_);
        std::size_t size = whole_pages(bytes);
        madvise(memory, size, MADV_DONTNEED);  // zeros, when it is used again
        auto next = free_.lower_bound(offset);
        if (next != free_.end() && next->first == offset + size) {
            size += next->second;
            next = free_.erase(next);
        }
        if (next != free_.begin() && std::prev(next)->first + std::prev(next)->second == offset)
            std::prev(next)->second += size;
        else
            free_[offset] = size;
    }

    void open() {
        if (base_ == nullptr) return;
        std::scoped_lock const lock(mutex_);
        if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
    }
    void close() {
        if (base_ == nullptr) return;
        std::scoped_lock const lock(mutex_);
        if (--open_ == 0) protect(PROT_NONE);
    }

  private:
    static std::size_t whole_pages(std::size_t bytes) {
        return std::max<std::size_t>((bytes + page - 1) / page, 1) * page;
    }
    void protect(int access) {
        if (used_ > 0) SELVAGE_CHECK(mprotect(base_, used_, access) == 0, "mprotect: {}", std::strerror(errno));
    }

    std::byte* base_ = nullptr;  // null: device memory is the heap's
    std::mutex mutex_;
    std::size_t used_ = 0;
    std::map<std::size_t, std::size_t> free_;  // offset and bytes
    int open_ = 0;
};

// Never destroyed: streams that live as long as the process give blocks back at its end.
Region& region() {
    static Region& one = *new Region;
    return one;
}

}  // namespace

void* allocate(std::size_t bytes) { return region().allocate(bytes); }
void release(void* memory, std::size_t bytes) noexcept {
    if (memory != nullptr) region().release(memory, bytes);
}

Access::Access() { region().open(); }
Access::~Access() { region().close(); }

}  // namespace selvage::emulation

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The emulated device's memory: out of reach unless a kernel or a copy is running, so that host code which takes device
// memory for its own dies at the spot (SIGSEGV) as it would beside a GPU. Not so under sanitizers, which watch single
// arrays instead, nor with SELVAGE_EMULATION_TRAP=off.
#include <cstddef>

namespace selvage::emulation {

// Zeroed, aligned to 256 bytes. Any thread.
void* allocate(std::size_t bytes);
void release(void* memory, std::size_t bytes) noexcept;

// While one of these lives, device memory can be touched. They nest, on any number of threads.
class Access {
  public:
    Access();
    ~Access();
    Access(Access const&) = delete;
    Access& operator=(Access const&) = delete;
};

}  // namespace selvage::emulation

// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/cpu_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "base/error.h"
#include "base/timer.h"

namespace selvage {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;

// The lowest memory.max from this process's control group up to the root (version 2), or version 1's limit.
std::size_t control_group_limit() {
    std::size_t limit = SIZE_MAX;
    auto const take = [&](std::string const& path) {
        std::ifstream file(path);
        unsigned long long value = 0;
        if (file >> value) limit = std::min(limit, static_cast<std::size_t>(value));
    };
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        std::size_t const colon = line.find("::");
        if (colon == std::string::npos) continue;
        std::string path = line.substr(colon + 2);
        while (true) {
            take("/sys/fs/cgroup" + path + "/memory.max");
            std::size_t const slash = path.find_last_of('/');
            if (slash == std::string::npos || path.empty()) break;
            path.resize(slash);
        }
    }
    take("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    return limit;
}

class CpuDevice final : public Device {
  public:
    DeviceKind kind() const override { return DeviceKind::cpu; }
    std::string description() const override { return "CPU"; }

    std::size_t memory_limit() const override {
        std::size_t const pages = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES));
        return std::min(pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), control_group_limit());
    }

    void* allocate(std::size_t bytes) override {
        std::size_t const rounded = (bytes + 63) / 64 * 64;
        void* memory = nullptr;
        if (posix_memalign(&memory, rounded < huge_page ? 64 : huge_page, rounded) != 0)
            fail(ExitCode::system,
                 "out of memory: {} more asked for, limit {}; use a smaller model, batch or cache, or more memory",
                 format_bytes(static_cast<double>(bytes)), format_bytes(static_cast<double>(memory_limit())));
#ifdef MADV_HUGEPAGE
        // The processor's prefetching ends at a page: large ones are read up to twice as fast. A wish, may be refused.
        if (rounded >= huge_page) madvise(memory, rounded, MADV_HUGEPAGE);
#endif
        std::memset(memory, 0, rounded);
        return memory;
    }

    void release(void* memory, std::size_t) noexcept override { std::free(memory); }
};

}  // namespace

std::unique_ptr<Device> make_cpu_device() { return std::make_unique<CpuDevice>(); }

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
// Copy and read bandwidth.
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "base/timer.h"
#include "driver/modes.h"
#include "driver/rounds.h"

namespace selvage::bench {
namespace {

struct Part {
    std::size_t begin;
    std::size_t size;
};
Part my_part(std::size_t size) {
    auto const threads = static_cast<std::size_t>(omp_get_num_threads());
    auto const thread = static_cast<std::size_t>(omp_get_thread_num());
    std::size_t const begin = size * thread / threads;
    return {begin, size * (thread + 1) / threads - begin};
}

std::uint64_t combine(std::uint64_t const* values, std::size_t size) {
    std::uint64_t sums[16] = {};
    for (std::size_t i = 0; i + 16 <= size; i += 16)
        for (std::size_t j = 0; j < 16; ++j) sums[j] ^= values[i + j];
    std::uint64_t all = 0;
    for (std::uint64_t const sum : sums) all ^= sum;
    return all;
}

// GB/s of the fastest of a few passes that move `bytes`.
template <class Pass>
double rate(double bytes, Pass const& pass) {
    constexpr int passes = 4;
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < passes; ++i) {
        Timer const timer;
        pass();
        best = std::min(best, timer.seconds());
    }
    return 1e-9 * bytes / best;
}

class Arrays {
  public:
    explicit Arrays(std::size_t bytes) : size_(bytes / sizeof(std::uint64_t)), a_(size_), b_(size_) {
        for (std::size_t i = 0; i < size_; ++i) a_[i] = i;
    }
    double read() {
        std::uint64_t result = 0;
        double const gbps = rate(static_cast<double>(size_ * sizeof(std::uint64_t)), [&] {
#pragma omp parallel reduction(^ : result)
            {
                Part const part = my_part(size_);
                result ^= combine(a_.data() + part.begin, part.size);
            }
        });
        b_[0] = result;  // so that it is computed
        return gbps;
    }
    // Bytes read and bytes written both count.
    double copy() {
        return rate(2.0 * static_cast<double>(size_ * sizeof(std::uint64_t)), [&] {
#pragma omp parallel
            {
                Part const part = my_part(size_);
                std::memcpy(b_.data() + part.begin, a_.data() + part.begin, part.size * sizeof(std::uint64_t));
            }
        });
    }

  private:
    std::size_t size_;
    std::vector<std::uint64_t> a_, b_;
};

}  // namespace

void ceiling_memory(MpiSession& mpi, Options const& options) {
    omp_set_num_threads(static_cast<int>(options.threads));
    bool const tiny = options.model == "tiny";
    // Larger than any cache, and the size of the weights of 124M in bf16, which some caches hold.
    Arrays large(tiny ? 1U << 20 : 1U << 30);
    Arrays weights(tiny ? 1U << 16 : 248U << 20);
    auto const round = [&]() -> Numbers {
        return {{"read", large.read()}, {"copy", large.copy()}, {"read_248_mib", weights.read()}};
    };
    serve_rounds(*mpi.world(), {}, round);
}

}  // namespace selvage::bench

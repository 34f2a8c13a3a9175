// SPDX-License-Identifier: Apache-2.0
// Kernels with one bug each, beside the same kernels without it: the emulation and the sanitizers must find every one.
//   planted NAME right|wrong     exit 0 if the results are right in three orders of threads and nothing was reported
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "device/cuda/launch.h"
#include "kernels/cuda/emulated.h"

namespace selvage {
namespace {

constexpr int threads = 64;

template <bool wrong>
__global__ void missing_barrier(float* out, float const* in) {
    __shared__ float shared[threads];
    int const t = static_cast<int>(threadIdx.x);
    shared[t] = in[t];
    if constexpr (!wrong) __syncthreads();
    out[t] = shared[(t + 1) % threads];
}

// The second round writes what others may still be reading.
template <bool wrong>
__global__ void missing_barrier_after_reading(float* out, float const* in) {
    __shared__ float shared[threads];
    int const t = static_cast<int>(threadIdx.x);
    for (int round = 0; round < 2; ++round) {
        shared[t] = in[t];
        __syncthreads();
        out[t] = shared[(t + 1) % threads];
        if constexpr (!wrong) __syncthreads();
    }
}

template <bool wrong>
__global__ void shuffle_as_barrier(float* out, float const* in) {
    __shared__ float shared[threads];
    int const t = static_cast<int>(threadIdx.x);
    int const warp = t / 32 * 32;
    shared[t] = in[t];
    if constexpr (wrong)
        __shfl_sync(0xffffffffU, t, 0);
    else
        __syncwarp();
    float const next = shared[warp + (t + 1) % 32];
    out[t] = (t + 1) % 32 == 0 ? in[(t + 1) % threads] : next;
}

// Where the compiler sees the array, UBSan finds it out.
[[gnu::noinline]] __device__ float at(float const* values, int i) { return values[i]; }

template <bool wrong>
__global__ void static_overrun(float* out, float const* in) {
    __shared__ float shared[threads];
    int const t = static_cast<int>(threadIdx.x);
    shared[t] = in[t];
    __syncthreads();
    out[t] = at(shared, t + 1 < threads || wrong ? t + 1 : 0);
}

template <bool wrong>
__global__ void dynamic_overrun(float* out, float const* in) {
    SELVAGE_DYNAMIC_SHARED(float, shared);
    int const t = static_cast<int>(threadIdx.x);
    shared[t] = in[t];
    __syncthreads();
    out[t] = t + 1 < threads || wrong ? shared[t + 1] : shared[0];
}

template <bool wrong>
__global__ void misaligned_load(float* out, float const* in) {
    int const t = static_cast<int>(threadIdx.x);
    int const next = (t + 1) % threads;
    if (wrong && t < threads - 4) {
        out[t] = reinterpret_cast<float4 const*>(in + next)->x;
    } else {
        float4 const four = *reinterpret_cast<float4 const*>(in + next / 4 * 4);
        float const all[] = {four.x, four.y, four.z, four.w};
        out[t] = all[next % 4];
    }
}

template <bool wrong>
__global__ void divergent_barrier(float* out, float const* in) {
    __shared__ float shared[threads];
    int const t = static_cast<int>(threadIdx.x);
    shared[t] = in[t];
    if (!wrong || t < 32) __syncthreads();
    out[t] = shared[(t + 1) % threads];
}

template <bool wrong>
__global__ void lane_that_left(float* out, float const* in) {
    int const t = static_cast<int>(threadIdx.x);
    out[t] = in[(t + 1) % threads];
    if (t == 3) return;
    __any_sync(wrong ? 0xffffffffU : t < 32 ? 0xfffffff7U : 0xffffffffU, 1);
}

template <bool wrong>
__global__ void missing_wait(float* out, float const* in) {
    SELVAGE_DYNAMIC_SHARED(float, shared);
    int const t = static_cast<int>(threadIdx.x);
    if (t % 4 == 0) cp_async(shared + t, in + t);
    cp_async_commit();
    if constexpr (!wrong) cp_async_wait<0>();
    __syncthreads();
    out[t] = shared[(t + 1) % threads];
}

struct Variants {
    void (*right)(float*, float const*);
    void (*wrong)(float*, float const*);
};
#define VARIANTS(name)                     \
    {                                      \
#name, { name<false>, name<true> } \
    }
std::map<std::string, Variants> const kernels{VARIANTS(missing_barrier),    VARIANTS(missing_barrier_after_reading),
                                              VARIANTS(shuffle_as_barrier), VARIANTS(static_overrun),
                                              VARIANTS(dynamic_overrun),    VARIANTS(misaligned_load),
                                              VARIANTS(divergent_barrier),  VARIANTS(lane_that_left),
                                              VARIANTS(missing_wait)};

int run(std::string const& name, bool wrong) {
    Variants const& variants = kernels.at(name);
    std::vector<float4> in(threads / 4);
    auto* const values = &in[0].x;
    int failed = 0;
    for (auto const order : {emulation::Order::ascending, emulation::Order::descending, emulation::Order::random}) {
        emulation::set_order(order, 1);
        // Others each time: static shared memory still holds the last ones.
        float const first = 1 + 100 * static_cast<float>(order);
        for (int i = 0; i < threads; ++i) values[i] = first + static_cast<float>(i);
        std::vector<float> out(threads);
        launch(wrong ? variants.wrong : variants.right, 1, threads, threads * sizeof(float), test::emulated_stream(),
               out.data(), values);
        for (int i = 0; i < threads; ++i)
            if (out[static_cast<std::size_t>(i)] != values[(i + 1) % threads]) failed = 1;
        if (failed != 0) std::printf("wrong result in order %d\n", static_cast<int>(order));
    }
    return failed;
}

}  // namespace
}  // namespace selvage

int main(int count, char** arguments) {
    if (count != 3) return 64;
    try {
        return selvage::run(arguments[1], std::string(arguments[2]) == "wrong");
    } catch (std::exception const& error) {
        std::printf("%s\n", error.what());
        return 70;
    }
}

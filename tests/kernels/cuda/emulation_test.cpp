// SPDX-License-Identifier: Apache-2.0
// The emulation itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "device/cuda/launch.h"
#include "kernels/cuda/emulated.h"
#include "kernels/numbers.h"

namespace selvage {
namespace {

using emulation::Order;
using emulation::set_order;
using test::emulated_stream;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Ints = std::vector<int>;

constexpr unsigned all = 0xffffffffU;

template <class Kernel, class... Arguments>
void launch_one(Kernel kernel, dim3 grid, dim3 block, Arguments... arguments) {
    launch(kernel, grid, block, 0, emulated_stream(), arguments...);
}

__global__ void shuffles_kernel(int* out, int width) {
    int const t = static_cast<int>(threadIdx.x);
    out[t] = __shfl_sync(all, t, 5, width);
    out[32 + t] = __shfl_up_sync(all, t, 3, width);
    out[64 + t] = __shfl_down_sync(all, t, 3, width);
    out[96 + t] = __shfl_xor_sync(all, t, 6, width);
}

TEST(Emulation, Shuffles) {
    for (int const width : {8, 16, 32}) {
        Ints out(128);
        launch_one(shuffles_kernel, 1, 32, out.data(), width);
        for (int t = 0; t < 32; ++t) {
            int const begin = t / width * width;
            auto const at = [&](int row) { return out[static_cast<std::size_t>(32 * row + t)]; };
            EXPECT_EQ(at(0), begin + 5);
            EXPECT_EQ(at(1), t - 3 >= begin ? t - 3 : t);
            EXPECT_EQ(at(2), t + 3 < begin + width ? t + 3 : t);
            EXPECT_EQ(at(3), t ^ 6);
        }
    }
}

__global__ void double_shuffle_kernel(double* out) { out[threadIdx.x] = __shfl_xor_sync(all, 0.1 * threadIdx.x, 1); }

TEST(Emulation, ShufflesOf64Bits) {
    std::vector<double> out(32);
    launch_one(double_shuffle_kernel, 1, 32, out.data());
    for (unsigned t = 0; t < 32; ++t) EXPECT_EQ(out[t], 0.1 * (t ^ 1U));
}

__global__ void votes_kernel(unsigned* out) {
    unsigned const t = threadIdx.x;
    unsigned const even = 0x55555555U;
    out[t] = t % 2 == 0 ? __ballot_sync(even, t < 8) : __ballot_sync(~even, t >= 24);
    out[32 + t] = static_cast<unsigned>(__any_sync(all, t == 7) + 2 * __all_sync(all, t != 7) + 4 * __all_sync(all, 1));
}

TEST(Emulation, Votes) {
    std::vector<unsigned> out(64);
    launch_one(votes_kernel, 1, 32, out.data());
    for (unsigned t = 0; t < 32; ++t) {
        EXPECT_EQ(out[t], t % 2 == 0 ? 0x00000055U : 0xaa000000U);
        EXPECT_EQ(out[32 + t], 5U);
    }
}

__global__ void places_kernel(int* out) {
    unsigned const thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    unsigned const block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

TEST(Emulation, EveryThreadOfEveryBlockRunsOnce) {
    Ints out(2 * 3 * 2 * 5 * 2 * 3);
    launch_one(places_kernel, dim3(2, 3, 2), dim3(5, 2, 3), out.data());
    EXPECT_EQ(out, Ints(out.size(), 1));
    launch_one(places_kernel, 0, 32, out.data());
    EXPECT_EQ(out, Ints(out.size(), 1));
}

__global__ void turns_kernel(int* order, int* next) {
    order[(*next)++] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

TEST(Emulation, OrdersOfThreadsAndBlocks) {
    auto const turns = [](Order order, std::uint64_t seed) {
        set_order(order, seed);
        Ints result(120);
        int next = 0;
        launch_one(turns_kernel, 3, 40, result.data(), &next);
        set_order(Order::ascending);
        return result;
    };
    Ints ascending(120);
    std::iota(ascending.begin(), ascending.end(), 0);
    if (test::tiny) return;  // a race by intent
    EXPECT_EQ(turns(Order::ascending, 0), ascending);
    EXPECT_EQ(turns(Order::descending, 0), Ints(ascending.rbegin(), ascending.rend()));
    EXPECT_THAT(turns(Order::random, 1), testing::UnorderedElementsAreArray(ascending));
    EXPECT_EQ(turns(Order::random, 1), turns(Order::random, 1));
    EXPECT_NE(turns(Order::random, 1), turns(Order::random, 2));
}

__global__ void product_kernel(float* d, std::uint32_t const* a, std::uint32_t const* b) {
    SELVAGE_DYNAMIC_SHARED(std::uint32_t, shared);  // a[16, 16], then b transposed to [8, 16], then b[16, 8]
    unsigned const lane = threadIdx.x;
    for (unsigned i = lane; i < 128; i += 32) shared[i] = a[i];
    for (unsigned i = lane; i < 128; i += 32) shared[128 + i] = b[i];
    __syncthreads();
    std::uint32_t of_a[4], of_b[4], other_b[4];
    // Matrices: rows 0-7 and 8-15 of the first eight columns, then of the others.
    load_matrices(of_a, shared + (lane % 16) * 8 + lane / 16 * 4);
    load_matrices(of_b, shared + 128 + (lane % 8) * 8 + lane / 8 % 2 * 4);
    load_matrices_transposed(other_b, shared + 192 + (lane % 16) * 4);
    float sums[4], others[4];
    for (int i = 0; i < 4; ++i) sums[i] = others[i] = d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2];
    mma_m16n8k16(sums, of_a, {of_b[0], of_b[1]});
    mma_m16n8k16(others, of_a, {other_b[0], other_b[1]});
    for (int i = 0; i < 4; ++i) {
        unsigned const at =
            (lane / 4 + static_cast<unsigned>(i) / 2 * 8) * 8 + lane % 4 * 2 + static_cast<unsigned>(i) % 2;
        d[at] = sums[i];
        d[128 + at] = others[i];
    }
}

TEST(Emulation, MatrixProductOfAWarp) {
    auto const a = test::rounded(test::random_floats(256, 1)), b = test::rounded(test::random_floats(128, 2));
    auto const c = test::random_floats(128, 3);
    auto d = c;
    d.resize(256);
    test::Bf16s both_b(256);
    for (std::size_t k = 0; k < 16; ++k)
        for (std::size_t j = 0; j < 8; ++j) both_b[j * 16 + k] = both_b[128 + k * 8 + j] = b[k * 8 + j];
    auto const words = [](test::Bf16s const& halves) {
        std::vector<std::uint32_t> result(halves.size() / 2);
        std::memcpy(result.data(), halves.data(), halves.size() * sizeof(BFloat16));
        return result;
    };
    auto const a_words = words(a), b_words = words(both_b);
    launch(product_kernel, 1, 32, 4 * 256, emulated_stream(), d.data(), a_words.data(), b_words.data());
    for (std::size_t i = 0; i < 16; ++i)
        for (std::size_t j = 0; j < 8; ++j) {
            double sum = c[i * 8 + j];
            for (std::size_t k = 0; k < 16; ++k)
                sum += static_cast<double>(test::value(a[i * 16 + k])) * test::value(b[k * 8 + j]);
            EXPECT_NEAR(d[i * 8 + j], sum, 1e-6) << i << ", " << j;
            EXPECT_EQ(d[128 + i * 8 + j], d[i * 8 + j]);
        }
}

__global__ void copies_kernel(float* out, float const* in) {
    SELVAGE_DYNAMIC_SHARED(float, shared);
    int const t = static_cast<int>(threadIdx.x);
    cp_async(shared + 4 * t, in + 4 * t);
    cp_async_commit();
    cp_async(shared + 128 + 4 * t, in, 4 * (t % 5));
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    out[t] = shared[4 * (31 - t)];
    out[32 + t] = std::isnan(shared[128 + 4 * t]) ? 1.0F : 0.0F;  // still under way
    cp_async_wait<0>();
    for (int i = 0; i < 4; ++i) out[64 + 4 * t + i] = shared[128 + 4 * t + i];
}

TEST(Emulation, AsynchronousCopies) {
    std::vector<float4> in(32);
    float* const values = &in[0].x;
    std::iota(values, values + 128, 1.0F);
    std::vector<float> out(64 + 128);
    launch(copies_kernel, 1, 32, 1024, emulated_stream(), out.data(), values);
    for (std::size_t t = 0; t < 32; ++t) {
        EXPECT_EQ(out[t], static_cast<float>(4 * (31 - t) + 1));
        EXPECT_EQ(out[32 + t], 1.0F);
        for (std::size_t i = 0; i < 4; ++i)
            EXPECT_EQ(out[64 + 4 * t + i], i < t % 5 ? static_cast<float>(i + 1) : 0.0F) << t;
    }
}

__global__ void poison_kernel(int* nans) {
    SELVAGE_DYNAMIC_SHARED(float, shared);
    nans[blockIdx.x] = std::isnan(shared[0]) ? 1 : 0;
    shared[0] = 1;
}

TEST(Emulation, DynamicSharedMemoryHoldsNothingOfTheBlockBefore) {
    Ints nans(3);
    launch(poison_kernel, 3, 1, sizeof(float), emulated_stream(), nans.data());
    EXPECT_EQ(nans, Ints(3, 1));
}

__global__ void nothing_kernel() {}
__global__ void two_barriers_kernel() {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}
__global__ void barrier_and_warp_kernel() {
    if (threadIdx.x == 0)
        __syncthreads();
    else
        __syncwarp();
}
__global__ void two_masks_kernel() { __any_sync(threadIdx.x < 16 ? all : 0xffff8000U, 1); }
__global__ void mask_without_itself_kernel() { __any_sync(1U, 1); }
__global__ void source_outside_the_mask_kernel() {
    if (threadIdx.x < 16) __shfl_sync(0xffffU, 1, 20);
}

TEST(Emulation, WrongKernelsAreErrors) {
    if (test::tiny) GTEST_SKIP() << "threads of the block that is given up are of no use to TSan";
    auto const message = [](void (*kernel)(), dim3 block) {
        try {
            launch_one(kernel, 1, block);
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), ExitCode::internal);
            return std::string(error.what());
        }
        return std::string("none");
    };
    EXPECT_THAT(message(nothing_kernel, 1025), HasSubstr("1025 x 1 x 1 threads"));
    EXPECT_THAT(message(nothing_kernel, dim3(32, 8, 5)), HasSubstr("32 x 8 x 5 threads"));
    EXPECT_EQ(message(nothing_kernel, 1024), "none");
    EXPECT_THAT(message(two_barriers_kernel, 64), HasSubstr("divergent __syncthreads()"));
    EXPECT_THAT(message(barrier_and_warp_kernel, 32), HasSubstr("wait for each other"));
    EXPECT_THAT(message(two_masks_kernel, 32), HasSubstr("with mask"));
    EXPECT_THAT(message(mask_without_itself_kernel, 32), HasSubstr("does not name lane"));
    EXPECT_THAT(message(source_outside_the_mask_kernel, 32), HasSubstr("reads from lane 20"));
    EXPECT_THAT(message(mask_without_itself_kernel, 1), "none");
    // And the next one runs as if nothing had been.
    EXPECT_EQ(message(nothing_kernel, 64), "none");
}

TEST(Emulation, StreamsCarryArraysAndResults) {
    auto const device = make_device("emulated");
    EXPECT_EQ(device->kind(), DeviceKind::cuda);
    Stream stream(*device);
    std::vector<int> host{1, 2, 3};
    int const* const first = upload(std::span<int const>(host), stream);
    host.assign(3, 9);
    for (int i = 0; i < 8; ++i) upload(std::span<int const>(host), stream);
    Ints back(3);
    download(std::span(back), first, stream);
    EXPECT_EQ(back, (Ints{1, 2, 3}));
    auto* const working = scratch<double>(7, stream);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(working) % 256, 0U);
    Event event(*device);
    stream.record(event);
    stream.wait(event);
    stream.synchronize();
    EXPECT_EQ(stream.native(), nullptr);
}

}  // namespace
}  // namespace selvage

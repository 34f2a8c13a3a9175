// SPDX-License-Identifier: Apache-2.0
// cuDNN's answer, without a GPU, to the graphs that attention goes by on an H100: that it supports them, and what
// working memory they need. It says nothing of what they compute.
#include <gtest/gtest.h>

#ifdef SELVAGE_CUDNN
#include <dlfcn.h>

#include "kernels/cuda/cudnn_attention_graphs.h"

namespace selvage::kernels::cuda::cudnn {
namespace {

// As CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION has it; the library names a member that is missing.
char const* const h100 = R"({
  "deviceName": "NVIDIA H100 80GB HBM3", "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0, "pciDeviceId": 0,
  "multiProcessorCount": 132, "totalGlobalMem": 85028634624, "l2CacheSize": 52428800,
  "smClockRateKHz": 1980000, "memClockRateKHz": 2619000, "warpSize": 32,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "maxCtasPerSM": 32,
  "regsPerBlock": 65536, "maxRegistersPerSM": 65536,
  "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024,
  "supportCoopLaunch": 1, "isTccDriver": 0
})";

constexpr std::size_t megabyte = std::size_t{1} << 20;

struct Heads {
    std::int64_t heads, kv_heads, head_size;
};

class CudnnGraphs : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(missing(), "");
        // Engines ask for a driver. The toolkit's stub, which does nothing, will do; once open it is found by its name.
        if (dlopen("libcuda.so.1", RTLD_NOW) == nullptr) {
            ASSERT_NE(dlopen(SELVAGE_CUDA_STUB, RTLD_NOW), nullptr) << dlerror();
        }
    }
    // The working memory of the library's first choice.
    std::size_t workspace(AttentionGraph const& attention) const {
        return attention.graph.engines(target_).at(0).workspace_bytes;
    }
    void expect_all(Heads const& h) const {
        SCOPED_TRACE(testing::Message() << h.heads << " heads over " << h.kv_heads << " of size " << h.head_size);
        AttentionSizes sizes{.heads = h.heads, .kv_heads = h.kv_heads, .head_size = h.head_size};
        // Numbers that plans are made for.
        for (std::int64_t const sequences : {1, 16, 256})
            for (std::int64_t const rows : {128, 2048, 32768}) {
                SCOPED_TRACE(testing::Message() << sequences << " sequences of up to " << rows << " rows");
                sizes.sequences = sequences;
                sizes.rows = sizes.positions = rows;
                sizes.pages = 0;
                EXPECT_LE(workspace(forward_graph(sizes, true)), megabyte);
                EXPECT_LE(workspace(forward_graph(sizes, false)), megabyte);
                EXPECT_LE(workspace(backward_graph(sizes)), megabyte);
                sizes.positions = 4 * rows;
                sizes.pages = 1000;
                EXPECT_LE(workspace(forward_graph(sizes, false)), megabyte);
            }
        sizes.rows = 1;
        for (std::int64_t const sequences : {1, 2, 16, 64, 256, 1024})
            for (std::int64_t const positions : {512, 4096, 65536}) {
                SCOPED_TRACE(testing::Message() << "decoding " << sequences << " of up to " << positions);
                sizes.sequences = sequences;
                sizes.positions = positions;
                EXPECT_LE(workspace(decode_graph(sizes)), 8 * megabyte);
            }
    }

    Target target_{std::string(h100)};
};

TEST_F(CudnnGraphs, OfTheModelsResolve) {
    for (Heads const& heads : {Heads{4, 2, 48}, {4, 4, 32}, {12, 12, 64}, {16, 16, 128}, {32, 32, 128}, {32, 8, 128}})
        expect_all(heads);
}

TEST_F(CudnnGraphs, OfOneRankOfManyResolve) {
    for (Heads const& heads : {Heads{2, 1, 48}, {6, 6, 64}, {16, 4, 128}, {8, 2, 128}, {4, 1, 128}, {1, 1, 128}})
        expect_all(heads);
}

TEST_F(CudnnGraphs, OfAllHeadSizesResolve) {
    for (std::int64_t const size : {16, 80, 96, 112, 160, 256}) expect_all({8, 2, size});
}

// The library generates kernels and compiles them; the stub then cannot load what was made.
TEST_F(CudnnGraphs, KernelsAreCompiled) {
    AttentionSizes sizes{
        .heads = 32, .kv_heads = 8, .head_size = 128, .sequences = 4, .rows = 2048, .positions = 2048, .pages = 0};
    auto const expect_compiled = [&](AttentionGraph const& attention) {
        try {
            attention.graph.plan(target_, 8 * megabyte);
        } catch (Refusal const& refusal) {
            EXPECT_NE(std::string(refusal.what()).find("cuLibraryLoadData"), std::string::npos) << refusal.what();
        }
    };
    expect_compiled(forward_graph(sizes, true));
    expect_compiled(backward_graph(sizes));
    sizes.pages = 1000;
    expect_compiled(forward_graph(sizes, false));
    sizes.rows = 1;
    expect_compiled(decode_graph(sizes));
}

TEST_F(CudnnGraphs, OfOtherHeadsDoNot) {
    AttentionSizes const good{
        .heads = 8, .kv_heads = 2, .head_size = 64, .sequences = 4, .rows = 128, .positions = 128, .pages = 0};
    EXPECT_NO_THROW(workspace(forward_graph(good, true)));
    for (auto const member : {&AttentionSizes::head_size, &AttentionSizes::kv_heads}) {
        AttentionSizes bad = good;
        bad.*member = 7;
        EXPECT_THROW(workspace(forward_graph(bad, true)), Refusal);
        EXPECT_THROW(workspace(forward_graph(bad, false)), Refusal);
        EXPECT_THROW(workspace(backward_graph(bad)), Refusal);
        bad.pages = 1000;
        EXPECT_THROW(workspace(forward_graph(bad, true)), Refusal);
        bad.rows = 1;
        EXPECT_THROW(workspace(decode_graph(bad)), Refusal);
    }
}

TEST_F(CudnnGraphs, ADescriptionThatLacksSomethingIsNotTaken) {
    EXPECT_THROW(Target(std::string(R"({"deviceVer": 900})")), Refusal);
}

}  // namespace
}  // namespace selvage::kernels::cuda::cudnn
#else
TEST(CudnnGraphs, NeedCudnn) { GTEST_SKIP() << "this build has no cuDNN"; }
#endif

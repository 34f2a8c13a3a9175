// SPDX-License-Identifier: Apache-2.0
// What the bits of the gradient do not depend on.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "model/training.h"

namespace selvage::test {
namespace {

class GradientBits : public testing::TestWithParam<char const*> {
  protected:
    // More than one call of the weight gradients (1024 rows) and several chunks of logits.
    GradientBits()
        : small_(config_named(GetParam()), compute_named(GetParam())),
          batch_((small_.randomise(3), small_), {530, 1, 64, 300, 200}) {}
    ~GradientBits() override { omp_set_num_threads(threads_); }

    static std::size_t differing(std::vector<float> const& a, std::vector<float> const& b) {
        std::size_t count = 0;
        for (std::size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(float)) != 0;
        return count;
    }

    int threads_ = omp_get_max_threads();
    SmallModel small_;
    TrainingBatch batch_;
};

TEST_P(GradientBits, ThreadsDoNotMatter) {
    omp_set_num_threads(1);
    double const loss = batch_.forward_and_backward();
    auto const expected = batch_.gradients();
    EXPECT_GT(std::count_if(expected.begin(), expected.end(), [](float g) { return g != 0; }), 1000);
    for (int threads : {2, 3}) {
        omp_set_num_threads(threads);
        batch_.clear();
        EXPECT_EQ(batch_.forward_and_backward(), loss);
        EXPECT_EQ(differing(batch_.gradients(), expected), 0U) << threads << " threads";
    }
}

TEST_P(GradientBits, PackedWeightsDoNotMatter) {
    double const loss = batch_.forward_and_backward();
    auto const expected = batch_.gradients();
    bool const bf16 = small_.model.compute() == DType::bf16;
    small_.model.pack(small_.arena, bf16 ? Model::Use::training : Model::Use::forward);
    batch_.clear();
    EXPECT_EQ(batch_.forward_and_backward(), loss);
    EXPECT_EQ(differing(batch_.gradients(), expected), 0U);
}

TEST_P(GradientBits, OverwritesWhatIsThere) {
    batch_.forward_and_backward();
    auto const once = batch_.gradients();
    batch_.forward_and_backward(kernels::Accumulate::overwrite);
    EXPECT_EQ(differing(batch_.gradients(), once), 0U);
    std::fill(batch_.weights().begin(), batch_.weights().end(), 0.0F);
    batch_.forward_and_backward(kernels::Accumulate::overwrite);
    for (float const g : batch_.gradients()) ASSERT_EQ(g, 0);
}

TEST_P(GradientBits, AddsToWhatIsThere) {
    batch_.forward_and_backward();
    auto const once = batch_.gradients();
    batch_.forward_and_backward();
    auto const twice = batch_.gradients();
    double largest = 0;
    for (float const g : once) largest = std::max(largest, std::fabs(static_cast<double>(g)));
    for (std::size_t i = 0; i < once.size(); ++i)
        ASSERT_NEAR(twice[i], 2 * static_cast<double>(once[i]), 1e-5 * largest) << "element " << i;
}

TEST_P(GradientBits, WhatIsSaidToBeFinalStaysAsItIs) {
    std::vector<std::pair<std::int64_t, std::vector<float>>> final;
    batch_.forward_and_backward(kernels::Accumulate::overwrite, [&](std::int64_t first) {
        auto const gradients = batch_.gradients();
        final.emplace_back(first, std::vector<float>(gradients.begin() + first, gradients.end()));
    });
    auto const gradients = batch_.gradients();
    // The head, two halves of every layer, and the embedding.
    ASSERT_EQ(final.size(), static_cast<std::size_t>(2 + 2 * small_.model.config().layers));
    std::int64_t before = small_.model.parameters().flat_size();
    for (auto const& [first, copy] : final) {
        EXPECT_LT(first, before);
        EXPECT_EQ(differing(copy, {gradients.begin() + first, gradients.end()}), 0U) << "from " << first;
        before = first;
    }
    EXPECT_EQ(before, 0);
    std::fill(batch_.weights().begin(), batch_.weights().end(), 0.0F);
    batch_.forward_and_backward(kernels::Accumulate::overwrite, [&](std::int64_t first) { before = first + 1; });
    EXPECT_EQ(before, 1);
}

TEST_P(GradientBits, NothingWithoutTargets) {
    std::fill(batch_.weights().begin(), batch_.weights().end(), 0.0F);
    EXPECT_EQ(batch_.forward_and_backward(), 0);
    for (float const g : batch_.gradients()) ASSERT_EQ(g, 0);
}

TEST_P(GradientBits, OncePerForward) {
    batch_.forward_and_backward();
    EXPECT_THROW(small_.model.backward(batch_.packed().batch(), batch_.targets(), batch_.weights(), batch_.cache(),
                                       batch_.workspace(), batch_.gradient_view()),
                 Error);
}

INSTANTIATE_TEST_SUITE_P(Models, GradientBits,
                         testing::Values("llama", "neox", "gemma2", "qwen3", "llama_bf16", "neox_bf16", "gemma2_bf16",
                                         "qwen3_bf16"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage::test

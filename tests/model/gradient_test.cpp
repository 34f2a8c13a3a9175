// SPDX-License-Identifier: Apache-2.0
// The whole model's gradient against finite differences along directions.
#include <gtest/gtest.h>

#include <cmath>

#include "model/training.h"

namespace selvage::test {
namespace {

// A log-probability is off by about 2e-6 (fp32, logits of some 10); 83 of them at random are off by 2e-5, and the four
// losses of a difference by sqrt(2 (8^2 + 1)) times that, over 12 steps.
constexpr double step = 0.02;
constexpr double noise_of_slope = 2e-5 * 11.4 / (12 * step);

using Direction = std::vector<double>;

class FiniteDifferences : public testing::TestWithParam<char const*> {
  protected:
    FiniteDifferences() : small_(config_named(GetParam())), batch_((small_.randomise(5), small_), {90, 20, 1}) {
        batch_.forward_and_backward();
        gradient_ = batch_.gradients();
        float const* const values = small_.model.parameters().values().as<float>();
        start_.assign(values, values + small_.model.parameters().flat_size());
    }

    double loss_at(Direction const& direction, double distance) {
        float* const values = small_.model.parameters().values().as<float>();
        for (std::size_t i = 0; i < start_.size(); ++i)
            values[i] = static_cast<float>(start_[i] + distance * direction[i]);
        return batch_.forward_and_backward();
    }

    // Fourth-order central difference, so that the step can be long.
    double slope(Direction const& direction, double h) {
        double const near = loss_at(direction, h) - loss_at(direction, -h);
        double const far = loss_at(direction, 2 * h) - loss_at(direction, -2 * h);
        return (8 * near - far) / (12 * h);
    }

    SmallModel small_;
    TrainingBatch batch_;
    std::vector<float> gradient_;
    std::vector<double> start_;
};

// One direction per parameter, halfway between its gradient and a random vector: the slope is large enough to be seen
// above the noise, and every element takes part.
TEST_P(FiniteDifferences, AlongADirectionOfEveryParameter) {
    Random const random(13, Purpose::test);
    std::uint32_t index = 0;
    for (Parameter const& parameter : small_.model.parameters().parameters()) {
        Direction direction(start_.size(), 0.0);
        double norm = 0, noise = 0, dot = 0;
        auto const begin = static_cast<std::size_t>(parameter.offset);
        auto const end = begin + static_cast<std::size_t>(parameter.spec.shape.elements());
        for (std::size_t i = begin; i < end; ++i) {
            direction[i] = random.uniform({index, static_cast<std::uint32_t>(i)}) * 2 - 1;
            norm += static_cast<double>(gradient_[i]) * gradient_[i];
            noise += direction[i] * direction[i];
        }
        ASSERT_GT(norm, 0) << parameter.spec.name;
        for (std::size_t i = begin; i < end; ++i) {
            direction[i] = direction[i] / std::sqrt(noise) + gradient_[i] / std::sqrt(norm);
            dot += direction[i] * gradient_[i];
        }
        // The formula's own error is of order step^4: a fifteenth of what doubling the step changes (Richardson).
        double const fine = slope(direction, step);
        double const truncation = std::fabs(slope(direction, 2 * step) - fine) / 15;
        EXPECT_NEAR(fine, dot, noise_of_slope + truncation) << parameter.spec.name;
        ++index;
    }
}

INSTANTIATE_TEST_SUITE_P(Models, FiniteDifferences, testing::Values("llama", "neox", "gemma2", "qwen3"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
// For tests of the backends against each other: every operation on the CPU and on another device, with the same
// tensors.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/elements.h"
#include "support/devices.h"

namespace selvage::test {

using Ids = std::vector<std::int32_t>;

inline double widened(std::int32_t x) { return x; }

// The same tensor in host memory and on the device.
template <class T>
class Twice {
  public:
    Twice(Arena& arena, Stream& stream, std::vector<T> values, Shape shape)
        : here_(std::move(values)), shape_(shape), there_(arena, "tensor", DTypeOf<T>::value, shape), stream_(stream) {
        arena.device().copy_to_device(there_.view().raw(), here_.data(), bytes(), stream);
        device_ = &arena.device();
    }
    TensorView here() const { return TensorView::of(here_.data(), shape_); }
    TensorView there() const { return there_; }
    std::vector<T> values_there() const {
        std::vector<T> back(here_.size());
        device_->copy_to_host(back.data(), there_.view().raw(), bytes(), stream_);
        return back;
    }
    // |there - here| <= absolute + relative |here|
    void expect_near(double absolute, double relative) const {
        std::vector<T> const back = values_there();
        for (std::size_t i = 0; i < back.size(); ++i) {
            double const wanted = widened(here_[i]);
            ASSERT_LE(std::abs(widened(back[i]) - wanted), absolute + relative * std::abs(wanted))
                << "element " << i << ": " << widened(back[i]) << " for " << wanted;
        }
    }
    void expect_same() const { expect_near(0, 0); }
    // The same of their Euclidean norms.
    void expect_norm_near(double relative) const {
        std::vector<T> const back = values_there();
        double difference = 0, norm = 0;
        for (std::size_t i = 0; i < back.size(); ++i) {
            difference += std::pow(widened(back[i]) - widened(here_[i]), 2);
            norm += std::pow(widened(here_[i]), 2);
        }
        EXPECT_LE(std::sqrt(difference), relative * std::sqrt(norm));
    }

  private:
    std::size_t bytes() const { return here_.size() * sizeof(T); }
    std::vector<T> here_;
    Shape shape_;
    Tensor there_;
    Stream& stream_;
    Device* device_;
};

// A GPU where there is one (SELVAGE_REQUIRE_GPU=1: must be).
class Backends : public testing::TestWithParam<char const*> {
  protected:
    void SetUp() override {
        std::string why;
        device_ = find_device(GetParam(), why);
        if (!device_) GTEST_SKIP() << why;
        arena_ = std::make_unique<Arena>(*device_);
        stream_ = std::make_unique<Stream>(*device_);
    }
    template <class T>
    Twice<T> twice(std::vector<T> values, Shape shape) {
        return {*arena_, *stream_, std::move(values), shape};
    }
    template <class E = float>
    Twice<E> random(Shape shape, std::uint32_t number, double scale = 1) {
        return twice<E>(random_elements<E>(shape.elements(), number, scale), shape);
    }
    // work(side, stream) on the CPU, then on the device; side(tensor) is the view to use.
    template <class Work>
    void run(Work const& work) {
        Stream cpu(DeviceKind::cpu);
        work([](auto const& tensor) { return tensor.here(); }, cpu);
        work([](auto const& tensor) { return tensor.there(); }, *stream_);
    }
    Arena& arena_of(Stream const& stream) { return stream.device() == DeviceKind::cpu ? cpu_arena_ : *arena_; }

    std::unique_ptr<Device> cpu_ = make_device("cpu");
    Arena cpu_arena_{*cpu_};
    std::unique_ptr<Device> device_;
    std::unique_ptr<Arena> arena_;
    std::unique_ptr<Stream> stream_;
};

inline auto backends() { return testing::Values("emulated", "cuda"); }
inline std::string name_of_backend(testing::TestParamInfo<char const*> const& info) { return info.param; }

}  // namespace selvage::test

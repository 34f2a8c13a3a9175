// SPDX-License-Identifier: Apache-2.0
#pragma once
// Shape, TensorView (borrowed) and Tensor (owner). Row-major and contiguous, always.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "device/arena.h"
#include "tensor/dtype.h"

namespace selvage {

class Shape {
  public:
    static constexpr int max_rank = 4;
    constexpr Shape() = default;
    constexpr Shape(std::initializer_list<std::int64_t> dims) {
        for (std::int64_t dim : dims) dims_[static_cast<std::size_t>(rank_++)] = dim;
    }
    constexpr int rank() const { return rank_; }
    constexpr std::int64_t operator[](int i) const { return dims_[static_cast<std::size_t>(i)]; }
    constexpr std::int64_t elements() const {
        std::int64_t product = 1;
        for (int i = 0; i < rank_; ++i) product *= dims_[static_cast<std::size_t>(i)];
        return product;
    }
    constexpr bool operator==(Shape const& other) const {
        if (rank_ != other.rank_) return false;
        for (int i = 0; i < rank_; ++i)
            if ((*this)[i] != other[i]) return false;
        return true;
    }
    std::string text() const;  // "[2, 3]"

  private:
    std::array<std::int64_t, max_rank> dims_{};
    int rank_ = 0;
};

// Borrowed: valid as long as the owner is. Passing it by value is cheap. Constness of the elements is by convention:
// kernels name outputs first, then inputs.
class TensorView {
  public:
    TensorView() = default;
    TensorView(void* data, DType dtype, Shape shape, DeviceKind device = DeviceKind::cpu)
        : data_(data), shape_(shape), dtype_(dtype), device_(device) {}
    // A view over host memory, e.g. TensorView::of(vector.data(), {rows, columns}).
    template <class T>
    static TensorView of(T* data, Shape shape) {
        using Plain = std::remove_const_t<T>;
        return TensorView(const_cast<Plain*>(data), DTypeOf<Plain>::value, shape);
    }

    Shape const& shape() const { return shape_; }
    int rank() const { return shape_.rank(); }
    std::int64_t dim(int i) const { return shape_[i]; }
    std::int64_t elements() const { return shape_.elements(); }
    DType dtype() const { return dtype_; }
    DeviceKind device() const { return device_; }
    void* raw() const { return data_; }
    bool empty() const { return data_ == nullptr || elements() == 0; }

    // Typed access; a wrong T is our own bug.
    template <class T>
    T* as() const {
        SELVAGE_CHECK(DTypeOf<std::remove_const_t<T>>::value == dtype_, "tensor is {}", name_of(dtype_));
        return static_cast<T*>(data_);
    }
    // Rows begin..end-1 of the first dim.
    TensorView rows(std::int64_t begin, std::int64_t end) const;
    // The same elements in another shape.
    TensorView reshape(Shape shape) const;

  private:
    void* data_ = nullptr;
    Shape shape_;
    DType dtype_ = DType::f32;
    DeviceKind device_ = DeviceKind::cpu;
};

// Owner of a named block of device memory; move-only; zeroed when made.
class Tensor {
  public:
    Tensor() = default;
    Tensor(Arena& arena, std::string name, DType dtype, Shape shape);
    TensorView view() const { return view_; }
    operator TensorView() const { return view_; }  // NOLINT: a tensor is used as its view everywhere
    Shape const& shape() const { return view_.shape(); }
    // The first `count` rows: buffers are made for the largest case and used in part.
    TensorView first(std::int64_t count) const { return view_.rows(0, count); }

  private:
    Memory memory_;
    TensorView view_;
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include "tensor/tensor.h"

#include <utility>

namespace selvage {

std::string Shape::text() const {
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", (*this)[i]);
    return text + "]";
}

TensorView TensorView::rows(std::int64_t begin, std::int64_t end) const {
    SELVAGE_CHECK(rank() >= 1 && 0 <= begin && begin <= end && end <= dim(0), "rows {}..{} of {}", begin, end,
                  shape_.text());
    std::int64_t const per_row = dim(0) == 0 ? 0 : elements() / dim(0);
    Shape part = shape_;
    switch (rank()) {
        case 1:
            part = {end - begin};
            break;
        case 2:
            part = {end - begin, dim(1)};
            break;
        case 3:
            part = {end - begin, dim(1), dim(2)};
            break;
        default:
            part = {end - begin, dim(1), dim(2), dim(3)};
            break;
    }
    auto* const first = static_cast<std::byte*>(data_) + static_cast<std::size_t>(begin * per_row) * size_of(dtype_);
    return TensorView(first, dtype_, part, device_);
}

TensorView TensorView::reshape(Shape shape) const {
    SELVAGE_CHECK(shape.elements() == elements(), "{} cannot be seen as {}", shape_.text(), shape.text());
    return TensorView(data_, dtype_, shape, device_);
}

Tensor::Tensor(Arena& arena, std::string name, DType dtype, Shape shape)
    : memory_(arena.allocate(std::move(name), static_cast<std::size_t>(shape.elements()) * size_of(dtype))),
      view_(memory_.data(), dtype, shape, arena.device().kind()) {}

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Elements of either dtype for tests of kernels that take both.
#include <cstring>

#include "kernels/numbers.h"

namespace selvage::test {

constexpr double epsilon_bf16 = 1.0 / (1 << 8);  // unit roundoff

// To the nearest, ties to even; in plain steps, for comparison with the kernels'.
inline BFloat16 to_bf16(float x) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    std::uint32_t const rest = bits & 0xffffU;
    std::uint32_t upper = bits >> 16;
    if (rest > 0x8000U || (rest == 0x8000U && (upper & 1U) != 0)) ++upper;
    return {static_cast<std::uint16_t>(upper)};
}
inline float to_float(BFloat16 x) {
    std::uint32_t const bits = static_cast<std::uint32_t>(x.bits) << 16;
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline float round_to(DType dtype, float x) { return dtype == DType::bf16 ? to_float(to_bf16(x)) : x; }
inline double epsilon_of(DType dtype) { return dtype == DType::bf16 ? epsilon_bf16 : epsilon_f32; }

class Buffer {
  public:
    Buffer(DType dtype, Floats const& values) : dtype_(dtype), bytes_(values.size() * size_of(dtype)) {
        for (std::size_t i = 0; i < values.size(); ++i) set(i, values[i]);
    }
    // Every byte with the same bits: 0xff for NaN.
    Buffer(DType dtype, std::int64_t count, unsigned char byte)
        : dtype_(dtype), bytes_(static_cast<std::size_t>(count) * size_of(dtype), byte) {}

    std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size() / size_of(dtype_)); }
    TensorView view(Shape shape, std::int64_t first = 0) const {
        SELVAGE_CHECK(first + shape.elements() <= size(), "{} of {} elements from {}", shape.text(), size(), first);
        auto const* const from = bytes_.data() + static_cast<std::size_t>(first) * size_of(dtype_);
        return {const_cast<unsigned char*>(from), dtype_, shape};
    }
    float at(std::int64_t index) const {
        auto const* const from = bytes_.data() + static_cast<std::size_t>(index) * size_of(dtype_);
        if (dtype_ == DType::f32) {
            float x = 0;
            std::memcpy(&x, from, sizeof x);
            return x;
        }
        BFloat16 half;
        std::memcpy(&half, from, sizeof half);
        return to_float(half);
    }
    std::vector<double> doubles() const {
        std::vector<double> values(static_cast<std::size_t>(size()));
        for (std::int64_t i = 0; i < size(); ++i) values[static_cast<std::size_t>(i)] = at(i);
        return values;
    }
    // The first elements of another buffer.
    void copy_from(Buffer const& other, std::int64_t count, std::int64_t from = 0) {
        std::memcpy(bytes_.data(), other.bytes_.data() + static_cast<std::size_t>(from) * size_of(dtype_),
                    static_cast<std::size_t>(count) * size_of(dtype_));
    }
    bool same_bits(Buffer const& other, std::int64_t count) const {
        return std::memcmp(bytes_.data(), other.bytes_.data(), static_cast<std::size_t>(count) * size_of(dtype_)) == 0;
    }
    bool operator==(Buffer const&) const = default;

  private:
    DType dtype_;
    std::vector<unsigned char> bytes_;

    void set(std::size_t index, float value) {
        unsigned char* const to = bytes_.data() + index * size_of(dtype_);
        if (dtype_ == DType::f32) {
            std::memcpy(to, &value, sizeof value);
        } else {
            BFloat16 const half = to_bf16(value);
            std::memcpy(to, &half, sizeof half);
        }
    }
};

}  // namespace selvage::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The two 16-bit types of stored weights. To float exactly; from float to the nearest, ties to even.
#include <bit>
#include <cmath>
#include <cstdint>

namespace selvage::io {

inline float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

// Of a finite value; the nearest may be infinite.
inline std::uint16_t to_bf16(float value) {
    auto const bits = std::bit_cast<std::uint32_t>(value);
    return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

// IEEE 754 binary16: 1 sign bit, 5 of the exponent (biased by 15), 10 of the fraction.
inline float from_f16(std::uint16_t bits) {
    std::uint32_t const sign = (std::uint32_t{bits} & 0x8000U) << 16;
    std::uint32_t const exponent = (bits >> 10) & 31U;
    std::uint32_t const fraction = bits & 1023U;
    float const subnormal = static_cast<float>(fraction) * 0x1p-24F;
    std::uint32_t const biased = exponent == 31U ? 255U : exponent + 112U;
    float const normal = std::bit_cast<float>(biased << 23 | fraction << 13);
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(exponent == 0 ? subnormal : normal) | sign);
}

// Of a finite value; the nearest may be infinite.
inline std::uint16_t to_f16(float value) {
    auto const bits = std::bit_cast<std::uint32_t>(value);
    std::uint32_t const sign = (bits >> 16) & 0x8000U;
    std::uint32_t const size = bits & 0x7fffffffU;
    std::uint32_t rounded = 0;
    if (size >= 0x477ff000U)  // half way from the largest, 65504, to what would be the next
        rounded = 0x7c00U;
    else if (size < 0x38800000U)  // below 2^-14: a multiple of 2^-24
        rounded = static_cast<std::uint32_t>(std::nearbyint(std::bit_cast<float>(size) * 0x1p24F));
    else
        rounded = (size - (112U << 23) + 0xfffU + ((size >> 13) & 1U)) >> 13;
    return static_cast<std::uint16_t>(sign | rounded);
}

}  // namespace selvage::io

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The register tile that every product uses: acc(i, j) = fma(a(i, k), b(k, j), acc(i, j)) for ascending k.
#include "kernels/cpu/simd.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

template <int Rows, int Vectors>
SELVAGE_INLINE void chain(F16 (&acc)[Rows][Vectors], float const* a, std::int64_t a_row, std::int64_t a_k,
                          float const* b, std::int64_t b_stride, std::int64_t count) {
    for (std::int64_t k = 0; k < count; ++k) {
        F16 column[Vectors];
        for (int v = 0; v < Vectors; ++v) column[v] = load(b + k * b_stride + v * lanes);
        for (int i = 0; i < Rows; ++i) {
            F16 const value = set(a[i * a_row + k * a_k]);
            for (int v = 0; v < Vectors; ++v) acc[i][v] = fma(value, column[v], acc[i][v]);
        }
    }
}

template <int Rows, int Vectors>
SELVAGE_INLINE void clear(F16 (&acc)[Rows][Vectors]) {
    for (int i = 0; i < Rows; ++i)
        for (int v = 0; v < Vectors; ++v) acc[i][v] = set(0.0F);
}

// Calls function.template operator()<rows>() with rows as a constant.
template <class Function>
SELVAGE_INLINE void with_rows(std::int64_t rows, Function const& function) {
    static_assert(tile_rows == 4 || tile_rows == 6);
    if (rows == 1) return function.template operator()<1>();
    if (rows == 2) return function.template operator()<2>();
    if (rows == 3) return function.template operator()<3>();
    if constexpr (tile_rows > 4) {
        if (rows == 4) return function.template operator()<4>();
        if (rows == 5) return function.template operator()<5>();
    }
    return function.template operator()<tile_rows>();
}

}  // namespace
}  // namespace selvage::kernels::SELVAGE_ISA

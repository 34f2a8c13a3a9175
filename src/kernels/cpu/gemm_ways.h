// SPDX-License-Identifier: Apache-2.0
#pragma once
// The two ways of one matrix product, c[m, n] = (or +=) a b (+ bias): our own loops and the library's.
#include <cstdint>
#include <string>

namespace selvage::kernels {

struct MatrixProduct {
    float* c = nullptr;  // [m, n]
    float const* a = nullptr;
    float const* b = nullptr;       // plain, or null
    float const* panels = nullptr;  // packed: panel p at panels + p * panel_elements(k)
    float const* bias = nullptr;    // [n] or null
    std::int64_t m = 0;
    std::int64_t n = 0;
    std::int64_t k = 0;
    bool a_transposed = false;  // a is stored [k, m], else [m, k]
    bool b_transposed = false;  // b is stored [n, k], else [k, n]
    bool add = false;           // the product is finished first and then added to c
};

// Packed weights: columns in panels of the kernel table's width, k padded to whole 16 with zeros.
std::int64_t panel_elements(std::int64_t k);
std::int64_t panel_count(std::int64_t n);
void pack_panels(float* panels, float const* b, bool b_transposed, std::int64_t n, std::int64_t k);

void ordered_product(MatrixProduct const& product);

// Of packed weights only; leaves the bias alone. False where the library cannot do this product in the wanted form;
// then nothing was done.
bool library_product(MatrixProduct const& product);
std::string library_name();
// Of the library's implementation for a typical product, e.g. "brg:avx512_core".
std::string library_implementation();

}  // namespace selvage::kernels

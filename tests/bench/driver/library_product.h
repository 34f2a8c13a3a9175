// SPDX-License-Identifier: Apache-2.0
#pragma once
// One matrix product of oneDNN with its own operands, to see how fast the machine can do it; compiles with 2.6 and 3.x.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "driver/options.h"

namespace selvage::bench {

struct ProductShape {
    std::int64_t m;
    std::int64_t n;
    std::int64_t k;
};

enum class Layout : std::uint8_t { plain, transposed, chosen };  // chosen: by the library (packed)

// The form of c[m, n] = a[m, k] b[k, n]. Sums are fp32; a weight gradient stays in it.
struct ProductForm {
    DType precision = DType::f32;
    Layout a = Layout::plain;
    Layout b = Layout::chosen;
    bool f32_out = false;
};

class LibraryProduct {
  public:
    // Throws dnnl::error where the library has no such product.
    LibraryProduct(ProductShape shape, ProductForm form);
    void run();
    // Multiplications and additions.
    double work() const { return work_; }

  private:
    struct Operand {
        std::unique_ptr<void, decltype(&std::free)> block{nullptr, &std::free};
        dnnl::memory memory;
    };
    static Operand make(dnnl::memory::desc const& description);

    double work_;
    Operand a_, b_, c_, scratch_;
    dnnl::matmul primitive_;
};

// Threads of all products from here on.
void set_product_threads(std::int64_t threads);

}  // namespace selvage::bench

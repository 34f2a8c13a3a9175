// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products in bfloat16 by cuBLASLt, in builds with SELVAGE_CUDA. Host threads must not call it at the same time.
#include <string>

#include "kernels/cuda/gemm_product.h"

namespace selvage::kernels::cuda {

// Whether a row's bits must not depend on the number of rows (the default). Then products of one weight's shape go by
// algorithms that agree in every bit with one of them, the reference, on random numbers at several numbers of rows; or,
// where there is none, by our own kernel. Otherwise each number of rows takes what the library takes for the fastest.
// A change forgets what was chosen before.
void set_batch_invariant(bool batch_invariant);
bool batch_invariant();  // as it was set last

// For the log: what products go by without batch invariance.
std::string library_products();

// False: not done, our own kernel's to do. Which of the two is a matter of the sizes and types alone. The first product
// of a shape and of a power of two of rows chooses, which waits for the GPU: not while a stream is recorded.
bool library_product(MatrixProduct const& product, Stream& stream);

}  // namespace selvage::kernels::cuda

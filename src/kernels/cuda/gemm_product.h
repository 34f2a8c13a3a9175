// SPDX-License-Identifier: Apache-2.0
#pragma once
// Matrix products of the CUDA backend, and our own kernels for them.
#include "device/device.h"
#include "tensor/tensor.h"

namespace selvage::kernels::cuda {

// c[m, n] = a[m, k] b[k, n], with a given as [k, m] where a_transposed, b as [n, k] where b_transposed, all of them
// without gaps. Then a bias[n] is added, and all of it to what c holds already where `add`. a and b are f32, and so is
// c; or they are bf16, and c is f32 or bf16.
struct MatrixProduct {
    TensorView c;
    TensorView a, b;
    TensorView bias = {};  // f32; may be empty
    std::int64_t m, n, k;
    bool a_transposed = false;
    bool b_transposed = false;
    bool add = false;
};

// In the order of sums of kernels/README.md: the bits are the CPU's.
void multiply_f32(MatrixProduct const& product, Stream& stream);

// Per output one chain of mma_m16n8k16 from zero over ascending k, so that tiles and numbers of rows change no bit.
enum class Bf16Tile : std::uint8_t { wide, middle, narrow, single };  // 128 x 128, 64 x 64, 16 x 64, 16 x 16
Bf16Tile choose_tile(std::int64_t m, std::int64_t n);
void multiply_bf16(MatrixProduct const& product, Bf16Tile tile, Stream& stream);

}  // namespace selvage::kernels::cuda

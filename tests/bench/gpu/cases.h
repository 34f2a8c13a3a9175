// SPDX-License-Identifier: Apache-2.0
#pragma once
// The parts of the table.
#include "comm/mpi_session.h"
#include "driver/options.h"
#include "gpu/table.h"
#include "tensor/tensor.h"

namespace selvage::bench {

// tiny: shapes that show that it works, not how fast it is.
Ceilings measure_ceilings(Table& table, bool tiny);
void measure_kernels(Table& table, Ceilings const& ceilings, bool tiny);
void measure_attention(Table& table, Ceilings const& ceilings, bool tiny);
// Whole training steps, prompts, decoding. Each makes a model of its own.
void measure_jobs(MpiSession& mpi, Table& table, Ceilings const& ceilings, Options const& options);

// f32: between -0.5 and 0.5; bf16: the same, rounded.
Tensor random_tensor(Table& table, Shape const& shape, DType dtype);

}  // namespace selvage::bench

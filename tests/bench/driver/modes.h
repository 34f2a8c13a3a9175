// SPDX-License-Identifier: Apache-2.0
#pragma once
// What selvage_bench can measure. All but the last serve rounds until their input ends; collective over the world.
#include "comm/mpi_session.h"
#include "driver/options.h"

namespace selvage::bench {

void train(MpiSession& mpi, Options const& options);
void generate(MpiSession& mpi, Options const& options);
// One process, `threads` threads; these use oneDNN directly, not the model.
void ceiling_train(MpiSession& mpi, Options const& options);
void ceiling_generate(MpiSession& mpi, Options const& options);
void ceiling_memory(MpiSession& mpi, Options const& options);
// One process; prints a table, see gpu/table.h.
void gpu(MpiSession& mpi, Options const& options);

}  // namespace selvage::bench

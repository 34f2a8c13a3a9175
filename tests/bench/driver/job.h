// SPDX-License-Identifier: Apache-2.0
#pragma once
// A model with random weights on a grid of its own, set up as the program does it.
#include <memory>

#include "comm/mpi_session.h"
#include "comm/process_grid.h"
#include "device/arena.h"
#include "driver/options.h"
#include "model/model.h"

namespace selvage::bench {

class Job {
  public:
    // Collective.
    Job(MpiSession& mpi, Options const& options);
    Arena& arena() { return arena_; }
    ProcessGrid const& grid() const { return grid_; }
    Communicator& world() const { return grid_.world(); }
    Model& model() { return *model_; }

  private:
    std::unique_ptr<Device> device_;
    Arena arena_;
    ProcessGrid grid_;
    std::unique_ptr<Model> model_;
};

}  // namespace selvage::bench

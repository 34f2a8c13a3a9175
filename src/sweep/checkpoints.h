// SPDX-License-Identifier: Apache-2.0
#pragma once
// The checkpoints of a run. The trainer waits for a copy of its numbers in host memory; the I/O thread writes the copy
// while the run goes on. A file appears under its name whole, behind a run.h5 that has every row it counts.
#include <array>
#include <future>
#include <memory>
#include <optional>

#include "base/timer.h"
#include "comm/process_grid.h"
#include "io/files.h"
#include "io/run_log.h"
#include "optimize/sharded_adamw.h"
#include "sweep/options.h"

namespace selvage {

class Checkpoints {
  public:
    // `log`: the run log on rank 0, null elsewhere. All must outlive it; the destructor waits for the I/O thread.
    Checkpoints(ProcessGrid const& grid, io::IoThread& io, std::filesystem::path const& out,
                CheckpointOptions const& options, ParameterSet const& parameters, ShardedAdamW& optimizer,
                io::RunLog* log);
    ~Checkpoints();

    // Whether one should be written between the steps of a sweep: by steps, or by rank 0's clock. Collective.
    bool due(std::int64_t step);
    // Finishes the one before, copies, and returns; the state's table_rows are filled in here. With
    // checkpoint.background = false it returns when the file is there. Errors: weights that are not finite (bad_data);
    // io, also of the one before. Collective over the world.
    void start(io::CheckpointInfo info);
    // Tells the log of one that has been written since; throws what went wrong with it. Any rank, does not wait.
    void look();
    // Waits for the one under way; what went wrong with it is thrown on every rank that has not looked.
    void finish();

  private:
    struct Pending {
        std::future<io::CheckpointRow> written;  // stall_seconds is still to come
        double stall_seconds = 0;
    };
    enum Part : std::uint8_t { values, first_moment, second_moment, parts };
    std::array<TensorView, parts> copy();
    void take_written();

    ProcessGrid const& grid_;
    io::IoThread& io_;
    std::filesystem::path out_;
    CheckpointOptions options_;
    ParameterSet const& parameters_;
    ShardedAdamW& optimizer_;
    io::RunLog* log_;
    std::array<std::unique_ptr<HostBuffer>, parts> copies_;
    std::optional<Pending> pending_;
    Timer since_;  // the last one was started
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small files of every kind for the tests of io, and what tests need to compare them.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "io/files.h"
#include "io/run_log.h"

namespace selvage::io::test {

std::unique_ptr<IoThread> io_thread(Communicator& world);

TokenizerTable tokenizer();
DataFile data(std::int64_t pairs);
DraftsFile drafts(std::int64_t count);
WovenFile woven(std::int64_t rows);
ScoresFile scores(std::int64_t sequences);
CheckpointInfo checkpoint_info();

// A small model with odd shapes, several chunks, and moments that tell their place.
class Model {
  public:
    // `tensor` ranks next to each other hold different parts of some parameters; of the values a rank has all, or its
    // shard as of the moments.
    enum class Values : std::uint8_t { all, shard };
    explicit Model(Communicator* ranks = nullptr, int tensor = 1, std::string const& device = "cpu",
                   Values values = Values::all);
    std::int64_t write(IoThread& io, Path const& path, std::int64_t writers = 0);
    std::int64_t write(IoThread& io, Path const& path, CheckpointInfo const& info, OptimizerShard const& shard,
                       std::int64_t writers);
    void clear();
    // Whether values and moments are what the constructor made.
    bool is_whole();
    ParameterSet& parameters() { return *parameters_; }
    OptimizerShard shard();

  private:
    std::unique_ptr<Device> device_;
    Arena arena_;
    std::unique_ptr<ParameterSet> parameters_;
    Range shard_;
    Tensor first_, second_;
};

// A file system of its own with little room; needs root.
class SmallDisk {
  public:
    SmallDisk(Path folder, std::int64_t bytes);
    ~SmallDisk();
    bool is_mounted() const { return mounted_; }

  private:
    Path folder_;
    bool mounted_ = false;
};

// Steps, sweeps and evaluations from..to-1.
void fill_run_log(RunLog& log, std::int64_t from, std::int64_t to);

// Writes one file of every kind that one rank writes into `folder`.
std::vector<Path> write_all_kinds(IoThread& io, Path const& folder, std::int64_t size);

// What the file holds, dataset by dataset, without those marked volatile: equal text, equal content.
std::string content_of(IoThread& io, Path const& path);

std::string read_bytes(Path const& path);
void write_bytes(Path const& path, std::string const& bytes);

// The Error of an action: its code and text; code `done` where it throws none.
struct Outcome {
    ExitCode code = ExitCode::done;
    std::string message;
};
template <class Action>
Outcome outcome_of(Action&& action) {
    try {
        action();
    } catch (Error const& error) {
        return {error.code(), error.what()};
    }
    return {};
}

}  // namespace selvage::io::test

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every command that computes needs, made in the right order.
#include <memory>
#include <string>
#include <vector>

#include "app/run_deck.h"
#include "comm/mpi_session.h"
#include "comm/process_grid.h"
#include "device/arena.h"
#include "huggingface/folder.h"
#include "io/io_thread.h"

namespace selvage {

class Session {
  public:
    // Collective: grid, device, I/O thread, number of threads, the self-check of the matrix products.
    Session(MpiSession& mpi, RunDeck const& options);

    ProcessGrid const& grid() const { return *grid_; }
    Arena& arena() { return arena_; }
    io::IoThread& io() { return *io_; }
    bool is_root() const { return grid_->is_root(); }
    // What precision.batch_invariant = false means here; empty where it is true.
    std::string const& batch_variance() const { return batch_variance_; }

  private:
    std::unique_ptr<Device> device_;
    std::unique_ptr<ProcessGrid> grid_;
    std::string batch_variance_;
    Arena arena_;
    std::unique_ptr<io::IoThread> io_;
};

// A model, a checkpoint, or a Hugging Face folder, before its weights are read.
class ModelSource {
  public:
    // By every rank for itself. Errors: those of reading either.
    ModelSource(io::IoThread& io, std::string path);
    io::CheckpointInfo const& info() const { return info_; }
    ModelConfig const& config() const { return config_; }
    // Collective over `world`.
    void read(Communicator& world, ParameterSet& parameters) const;

  private:
    io::IoThread& io_;
    std::string path_;
    std::shared_ptr<huggingface::ModelFolder const> folder_;  // nullptr: a file
    io::CheckpointInfo info_;
    ModelConfig config_;
};

// A model from a file (a model or a checkpoint) or a Hugging Face folder for the commands that use one.
struct OpenedModel {
    io::CheckpointInfo info;
    ModelConfig config;
    std::unique_ptr<Model> model;
    std::unique_ptr<Tokenizer> tokenizer;
};
// Collective. The file is read and verified by every rank. Products are in precision.compute of the effective deck that
// the file carries, with overrides.
OpenedModel open_model(Session& session, std::string const& path, std::vector<std::string> const& overrides);

// Warns where a corpus was prepared with another tokenizer than the model's. Rank 0's log.
void tell_other_tokenizer(std::string const& name, Corpus const& corpus, TokenizerTable const& tokenizer);

// Error(bad_data) where a tokenizer has no begin token, for --begin.
void require_begin(Tokenizer const& tokenizer);

// Says how many pairs of a corpus did not fit the context; silent where all did. Rank 0's log.
void tell_too_long(std::string const& name, Corpus const& corpus, DataOptions const& options);

// The one I/O thread of commands that do not compute.
std::unique_ptr<io::IoThread> open_io(MpiSession& mpi);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The HDF5 files of Selvage, one function to write and one to read each. All of them: written whole or not at all
// (temporary name, flush, close, digest, rename, folder synced), verified on load, HDF5 calls on the I/O thread.
// Errors: missing_input (no such file), bad_data (foreign, truncated, damaged: which dataset), io (cannot write: why).
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/io_thread.h"
#include "tensor/parameter_set.h"
#include "text/records.h"
#include "text/tokenizer.h"

namespace selvage::io {

using Path = std::filesystem::path;
class FileReader;

// Small root attributes that a kind of file carries beside the common ones.
struct Attributes {
    std::map<std::string, std::string> text;
    std::map<std::string, std::int64_t> integers;
    std::map<std::string, double> numbers;
};

// --- data: text pairs as tokens ("selvage-data") ---
struct DataFile {
    std::vector<Token> tokens;                // prompt and answer of every pair, one after the other
    std::vector<std::int64_t> offsets;        // pairs + 1
    std::vector<std::int32_t> prompt_length;  // per pair
    TokenizerTable tokenizer;
    Attributes attributes;  // source digest, counts of dropped lines
    std::int64_t pairs() const { return static_cast<std::int64_t>(prompt_length.size()); }
};
void write_data(IoThread& io, Path const& path, DataFile const& file);  // by the calling rank alone
DataFile read_data(IoThread& io, Path const& path);                     // by the calling rank alone

// --- drafts ("selvage-drafts"), rows ordered by (example, sample, turn) ---
struct DraftsFile {
    std::vector<Draft> drafts;
    std::string deck;
    Attributes attributes;  // kind (free, forced, mixed), policy_step, policy_digest, sampler settings, seed, round
};
void write_drafts(IoThread& io, Path const& path, DraftsFile const& file);
DraftsFile read_drafts(IoThread& io, Path const& path);

// --- woven ("selvage-woven"), rows ordered by (example, sample, method) ---
// One use of a row in training: which step and lane, which packed row of the step, at which token of it, which woven
// row.
struct Use {
    std::int64_t step = 0;
    std::int32_t lane = 0;
    std::int32_t row = 0;
    std::int32_t offset = 0;
    std::int64_t index = 0;
    bool operator==(Use const&) const = default;
};
struct WovenFile {
    std::vector<Woven> rows;
    std::vector<Use> uses;
    std::string deck;
    Attributes attributes;  // the audit, round, method
};
void write_woven(IoThread& io, Path const& path, WovenFile const& file);
WovenFile read_woven(IoThread& io, Path const& path);

// --- scores ("selvage-scores"): /tokens, /offsets, /logprob (0 for a first token of a sequence) ---
struct ScoresFile {
    std::vector<Token> tokens;
    std::vector<std::int64_t> offsets;
    std::vector<float> logprob;
    Attributes attributes;
};
void write_scores(IoThread& io, Path const& path, ScoresFile const& file);
ScoresFile read_scores(IoThread& io, Path const& path);

// --- model and checkpoint ("selvage-model", "selvage-checkpoint") ---
// What comes next when a run resumes.
enum class Phase : std::int32_t { evaluate_start = 0, generate = 1, train = 2, evaluate = 3, finished = 4 };
struct RunState {
    std::int64_t step = 0;   // optimizer steps done
    std::int64_t round = 1;  // the round in hand
    Phase phase = Phase::evaluate_start;
    std::int64_t cursor = 0;  // examples of the data order handed to rounds before this one
    std::int64_t step_in_round = 0;
    std::map<std::string, std::int64_t> table_rows;  // of every table of run.h5 at this moment
};
// The flat vectors (f32) of an optimizer shard: elements shard.begin .. shard.end-1 of ParameterSet's flat vector, in
// host memory or that of the parameters' device.
struct OptimizerShard {
    Range shard;
    TensorView first_moment;
    TensorView second_moment;
};
// What a model brings along from the Hugging Face folder that it was imported from, so that it can go back into one;
// empty where it was not.
struct FolderContents {
    std::map<std::string, std::string> files;   // by name: the bytes; config.json is one of them, weights are not
    std::map<std::string, std::string> dtypes;  // by tensor: F32, F16 or BF16
    bool empty() const { return files.empty() && dtypes.empty(); }
    bool operator==(FolderContents const&) const = default;
};
struct CheckpointInfo {
    std::string deck;   // effective text
    std::string model;  // TOML of the model's configuration
    TokenizerTable tokenizer;
    RunState state;
    std::string data_digest;  // of the training examples (Corpus::digest); "" in a model
    FolderContents folder;
};
// Collective over `ranks`, in a job of the I/O thread: every rank calls it with the same path, parameters (whose values
// it does not touch) and tokenizer, and with its own shard; the rest of `info` is taken from rank 0. `values`: elements
// shard.shard of the parameters, in host memory or the parameters' device's like the moments. `writers` ranks open the
// file (0: one per node). Returns the bytes written (on every rank).
std::int64_t write_checkpoint(Communicator& ranks, Path const& path, CheckpointInfo const& info,
                              ParameterSet const& parameters, TensorView values, OptimizerShard const& shard,
                              std::int64_t writers);
// A model: no moments, no state. Collective, one writer per node.
void write_model(IoThread& io, Path const& path, CheckpointInfo const& info, ParameterSet const& parameters);
// Rows (of the first dim; of a scalar the one) of a parameter, from wherever they come.
using RowSource = std::function<void(ParameterSpec const& parameter, Range rows, float* into)>;
// A model that is never whole in one process: collective, every rank writes its part of each parameter, asking `source`
// for some rows at a time (on the I/O thread).
void write_model(IoThread& io, Path const& path, CheckpointInfo const& info,
                 std::vector<ParameterSpec> const& parameters, RowSource const& source);
// What this rank holds of the parameters, some rows at a time. By the calling rank alone.
void fill_parameters(ParameterSet& parameters, RowSource const& source);

// The texts and the state of a model or checkpoint, without its parameters (a model has no state). Verifies the file.
// By the calling rank alone.
CheckpointInfo read_checkpoint_info(IoThread& io, Path const& path);
// Fills `parameters` and, where `shard` is given, the moments (error if the file is a model). Collective; the saving
// job's ranks and grid do not matter. Error bad_data names a parameter that is missing or has another shape.
void read_checkpoint(IoThread& io, Path const& path, ParameterSet& parameters, OptimizerShard const* shard);

// The parameters of a model or checkpoint, some rows at a time.
class ParameterFile {
  public:
    // Collective; verifies the file, and that it has these parameters and no others (errors as read_checkpoint's).
    ParameterFile(IoThread& io, Path const& path, std::vector<ParameterSpec> const& parameters);
    ~ParameterFile();
    // By the calling rank alone.
    void read(ParameterSpec const& parameter, Range rows, float* into) const;

  private:
    IoThread& io_;
    std::unique_ptr<FileReader> file_;
};

// Names in `folder` of the form step-NNNNNNNN.h5, newest first.
std::vector<Path> list_checkpoints(Path const& folder);
// The newest that verifies and reads as a checkpoint; what is wrong with newer ones goes to `problems` (may be
// nullptr). By the calling rank alone.
std::optional<Path> newest_valid_checkpoint(IoThread& io, Path const& folder, std::vector<std::string>* problems);
// Removes all but the newest `keep` (at least one stays). By one rank.
void remove_old_checkpoints(Path const& folder, std::int64_t keep);
// Free for this user on the file system of `path`, which need not be there yet; -1: unknown.
std::int64_t free_disk_bytes(Path const& path);
Path checkpoint_path(Path const& folder, std::int64_t step);
Path round_path(Path const& folder, std::int64_t round);  // round-0001.h5

// --- any of our files ---
// Reads the whole file and checks it: digest, schema of its format, checksums, finite values. Throws Error(bad_data)
// that says what is wrong and where.
void check_file(IoThread& io, Path const& path);
// A screenful about it: format, version, commit, sizes of its datasets, attributes.
std::string describe_file(IoThread& io, Path const& path);

std::string hdf5_version();  // "1.10.8"

}  // namespace selvage::io

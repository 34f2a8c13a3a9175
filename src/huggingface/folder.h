// SPDX-License-Identifier: Apache-2.0
#pragma once
// A folder with a model of the transformers library: config.json, weights in safetensors, and what lies beside them.
#include <string>
#include <vector>

#include "huggingface/config.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "tensor/parameter_set.h"

namespace selvage::huggingface {

// Whether the path is a folder with a config.json in it.
bool is_model_folder(io::Path const& path);

struct FolderOptions {
    std::vector<std::string> ignored;  // keys of config.json that are taken for harmless
    Token end_of_answer = -1;          // -1: what the folder says
};

// To read. By every rank for itself; nothing is collective.
class ModelFolder {
  public:
    // Reads everything but the values of the weights, and checks that the weights are those of the configuration.
    // Errors: missing_input, bad_data; they name the file, and the key or tensor.
    explicit ModelFolder(io::Path folder, FolderOptions const& options = {});

    ModelConfig const& config() const { return config_.model; }
    std::string_view family() const;  // model_type
    std::vector<ParameterSpec> const& parameters() const { return parameters_; }
    // Of the model file that an import makes: no deck, no state.
    io::CheckpointInfo const& info() const { return info_; }
    // What was left behind in the folder, for the log: files that are not carried along, tensors that nobody reads.
    std::vector<std::string> const& left_behind() const { return left_behind_; }
    // Rows of a parameter. Error (bad_data): a value that is not finite.
    void read(ParameterSpec const& parameter, Range rows, float* into) const;
    std::int64_t weight_bytes() const;

  private:
    void check_tensors();
    void check_tied(std::string const& output) const;

    io::Path folder_;
    io::SafetensorsFolder weights_;
    FolderConfig config_;
    std::vector<ParameterSpec> parameters_;
    io::CheckpointInfo info_;
    std::vector<std::string> left_behind_;
};

struct ExportOptions {
    std::string dtype;  // "F32", "F16" or "BF16"; "": that of the folder that the model came from, else F32
    std::int64_t most_bytes = std::int64_t{5} << 30;  // of a file of weights
};

// Writes the parameters of a model or checkpoint as such a folder; returns the bytes of the weights. Collective over
// the communicator of `io`; every rank writes a part, some rows at a time. The folder appears under its name whole or
// not at all; it must not be there, or be empty. Errors: io (that, or the disk), bad_data (no family has such a model,
// a value that is not finite or does not fit the type).
std::int64_t export_model(io::IoThread& io, Communicator& world, io::Path const& model, io::CheckpointInfo const& info,
                          ModelConfig const& config, io::Path const& folder, ExportOptions const& options);

}  // namespace selvage::huggingface

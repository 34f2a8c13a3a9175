// SPDX-License-Identifier: Apache-2.0
#include "huggingface/folder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <set>

#include "base/error.h"
#include "huggingface/file_system.h"
#include "huggingface/tokenizer.h"
#include "huggingface/weights.h"
#include "model/model.h"

namespace selvage::huggingface {
namespace {

namespace fs = std::filesystem;

constexpr char const* config_name = "config.json";
// Larger ones are no tokenizer's.
constexpr std::uintmax_t largest_file = std::uintmax_t{256} << 20;

std::string read_file(io::Path const& path) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file) fail(ExitCode::io, "cannot read {}; check its permissions", path.string());
    return bytes;
}

// Weights, of this or another kind, are not carried along.
bool is_weights(std::string const& name) {
    constexpr std::array endings = {".safetensors", ".safetensors.index.json",
                                    ".bin",         ".bin.index.json",
                                    ".pt",          ".pth",
                                    ".ckpt",        ".gguf",
                                    ".h5",          ".msgpack",
                                    ".onnx"};
    return std::any_of(endings.begin(), endings.end(), [&](char const* ending) { return name.ends_with(ending); });
}

// All files that lie directly in the folder but weights and hidden ones.
Files read_files(io::Path const& folder, std::vector<std::string>& left_behind) {
    Files files;
    for (auto const& entry : fs::directory_iterator(folder)) {
        std::string const name = entry.path().filename().string();
        if (name.starts_with('.') || is_weights(name)) continue;
        if (!entry.is_regular_file())
            left_behind.push_back(name + "/");
        else if (entry.file_size() > largest_file)
            left_behind.push_back(name);
        else
            files[name] = read_file(entry.path());
    }
    return files;
}

io::Path checked(io::Path folder) {
    if (!is_model_folder(folder))
        fail(ExitCode::missing_input, "{} is not a folder with a config.json; name a folder that transformers wrote",
             folder.string());
    return folder;
}

// Of the embedding table, by which some models' arithmetic goes; f32 where there is none.
io::StoredType type_of_weights(io::SafetensorsFolder const& weights, io::Path const& folder) {
    for (char const* const name : {"model.embed_tokens.weight", "gpt_neox.embed_in.weight"})
        if (io::StoredTensor const* const tensor = weights.find(name))
            return io::stored_type_named(tensor->type, fmt::format("{}: tensor {} is of dtype", folder.string(), name));
    return io::StoredType::f32;
}

}  // namespace

bool is_model_folder(io::Path const& path) { return fs::is_directory(path) && fs::exists(path / config_name); }

ModelFolder::ModelFolder(io::Path folder, FolderOptions const& options)
    : folder_(checked(std::move(folder))), weights_(folder_) {
    as_io_error([&] { info_.folder.files = read_files(folder_, left_behind_); });
    config_ = read_config(info_.folder.files.at(config_name), (folder_ / config_name).string(),
                          type_of_weights(weights_, folder_), options.ignored);
    // Before a number from a file is counted to.
    if (config_.model.layers > static_cast<std::int64_t>(weights_.names().size()))
        fail(ExitCode::bad_data, "{}: num_hidden_layers is {}, but the folder has no more than {} tensors; correct it",
             (folder_ / config_name).string(), config_.model.layers, weights_.names().size());
    parameters_ = parameter_specs(config_.model);
    check_tensors();
    info_.model = to_toml(config_.model);
    info_.tokenizer = read_tokenizer(info_.folder.files, folder_.string(), config_.special, config_.model.vocabulary,
                                     options.end_of_answer);
}

std::string_view ModelFolder::family() const { return config_.family->model_type; }

void ModelFolder::check_tensors() {
    std::set<std::string> left(weights_.names().begin(), weights_.names().end());
    for (io::StoredTensor const& wanted : tensors_of(*config_.family, config_.model, parameters_)) {
        io::StoredTensor const* const tensor = weights_.find(wanted.name);
        if (tensor == nullptr)
            fail(ExitCode::bad_data,
                 "{} has no tensor {}, which a {} of its config.json has; fetch the weights and config.json from the "
                 "same "
                 "place",
                 folder_.string(), wanted.name, config_.family->model_type);
        std::string const file = weights_.file_of(wanted.name).string();
        if (tensor->dims != wanted.dims)
            fail(ExitCode::bad_data,
                 "{}: tensor {} is of shape {}, by config.json it is {}; fetch the weights and config.json from the "
                 "same "
                 "place",
                 file, wanted.name, tensor->shape_text(), wanted.shape_text());
        io::stored_type_named(tensor->type, fmt::format("{}: tensor {} is of dtype", file, wanted.name));
        info_.folder.dtypes[wanted.name] = tensor->type;
        left.erase(wanted.name);
    }
    for (std::string const& name : left) {
        if (config_.model.tied && name == fmt::format("{}.weight", theirs(*config_.family, "output")))
            check_tied(name);
        else if (!is_left_over(name))
            fail(
                ExitCode::bad_data,
                "{}: tensor {} is nothing that a {} of its config.json has (another kind of model, or an adapter); use "
                "another model",
                weights_.file_of(name).string(), name, config_.family->model_type);
        left_behind_.push_back(name);
    }
}

// An output projection beside tied embeddings says nothing where it is the same.
void ModelFolder::check_tied(std::string const& output) const {
    std::string const table = fmt::format("{}.weight", theirs(*config_.family, "embedding"));
    auto const differ = [&] {
        fail(ExitCode::bad_data,
             "{}: {} differs from {}, but config.json says tie_word_embeddings; set it to false where both are meant",
             folder_.string(), output, table);
    };
    io::StoredTensor const& first = *weights_.find(table);
    io::StoredTensor const& second = *weights_.find(output);
    if (first.dims != second.dims) differ();
    constexpr std::int64_t piece = std::int64_t{1} << 20;
    std::vector<float> a(piece), b(piece);
    for (std::int64_t at = 0; at < first.elements(); at += piece) {
        Range const here{at, std::min(at + piece, first.elements())};
        weights_.read(table, here, a.data());
        weights_.read(output, here, b.data());
        if (!std::equal(a.begin(), a.begin() + here.size(), b.begin())) differ();
    }
}

void ModelFolder::read(ParameterSpec const& parameter, Range rows, float* into) const {
    Source const source = source_of(*config_.family, config_.model, parameter);
    std::int64_t const width = row_elements(parameter);
    source.for_each_run(rows, [&](Range run, std::int64_t first) {
        float* const values = into + (run.begin - rows.begin) * width;
        weights_.read(source.tensor, {first * width, (first + run.size()) * width}, values);
    });
    for (std::int64_t i = 0; i < rows.size() * width; ++i)
        if (!std::isfinite(into[i]))
            fail(ExitCode::bad_data, "{}: {} in tensor {} (row {} of {}); the weights are damaged, fetch them again",
                 weights_.file_of(source.tensor).string(), into[i], source.tensor, rows.begin + i / width,
                 parameter.name);
}

std::int64_t ModelFolder::weight_bytes() const {
    std::int64_t bytes = 0;
    for (std::string const& name : weights_.names()) bytes += weights_.find(name)->end - weights_.find(name)->begin;
    return bytes;
}

}  // namespace selvage::huggingface

// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "io/safetensors.h"
#include "io/unique_keys.h"

namespace selvage::io {
namespace {

namespace json = boost::json;

constexpr char const* single_name = "model.safetensors";
constexpr char const* index_name = "model.safetensors.index.json";

std::string read_text(Path const& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file) fail(ExitCode::io, "cannot read {}; check its permissions", path.string());
    return text;
}

[[noreturn]] void fail_no_weights(Path const& folder) {
    for (char const* const other : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
        if (std::filesystem::exists(folder / other))
            fail(ExitCode::bad_data,
                 "{} has its weights in {} alone, which runs code when it is read; save the folder again with "
                 "safe_serialization=True",
                 folder.string(), other);
    fail(ExitCode::missing_input, "{} has neither {} nor {}; check the path", folder.string(), single_name, index_name);
}

// File by tensor.
std::map<std::string, std::string> read_index(Path const& path) {
    std::string const text = read_text(path);
    boost::system::error_code error;
    json::value const parsed = json::parse(text, error);
    json::value const* const map = parsed.is_object() ? parsed.get_object().if_contains("weight_map") : nullptr;
    if (error || map == nullptr || !map->is_object())
        fail(ExitCode::bad_data, "{} has no object weight_map (tensor: file); the file is damaged", path.string());
    if (auto const name = repeated_key(text))
        fail(ExitCode::bad_data, "{}: {} stands twice; the file is damaged", path.string(), *name);
    std::map<std::string, std::string> files;
    for (auto const& entry : map->get_object()) {
        std::string const tensor(entry.key().data(), entry.key().size());
        if (!entry.value().is_string())
            fail(ExitCode::bad_data, "{}: the file of {} is no string; the file is damaged", path.string(), tensor);
        std::string const file = json::value_to<std::string>(entry.value());
        // Nothing outside of the folder.
        if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos ||
            file.find('\0') != std::string::npos)
            fail(ExitCode::bad_data, "{}: {} is in '{}', which is not the name of a file of this folder", path.string(),
                 tensor, file);
        files[tensor] = file;
    }
    if (files.empty()) fail(ExitCode::bad_data, "{} names no tensor; the file is damaged", path.string());
    return files;
}

}  // namespace

void SafetensorsFolder::add(std::size_t file, std::size_t tensor) {
    std::string const& name = files_[file].tensors()[tensor].name;
    names_.push_back(name);
    places_[name] = {file, tensor};
}

SafetensorsFolder::SafetensorsFolder(Path folder) {
    if (!std::filesystem::is_directory(folder))
        fail(ExitCode::missing_input, "{} is not a folder; check the path", folder.string());
    // As transformers does: one file goes before an index.
    if (std::filesystem::exists(folder / single_name)) {
        files_.emplace_back(folder / single_name);
        for (std::size_t i = 0; i < files_[0].tensors().size(); ++i) add(0, i);
        return;
    }
    Path const index = folder / index_name;
    if (!std::filesystem::exists(index)) fail_no_weights(folder);
    auto const file_by_tensor = read_index(index);
    std::map<std::string, std::size_t> opened;
    for (auto const& [tensor, file] : file_by_tensor) opened[file] = 0;
    for (auto& [file, at] : opened) {
        if (!std::filesystem::exists(folder / file))
            fail(ExitCode::missing_input, "{} is not there, which {} names; fetch all files of the folder",
                 (folder / file).string(), index_name);
        at = files_.size();
        files_.emplace_back(folder / file);
        for (std::size_t i = 0; i < files_[at].tensors().size(); ++i) {
            // What the index says to be elsewhere, or does not know, is not taken from here.
            auto const found = file_by_tensor.find(files_[at].tensors()[i].name);
            if (found != file_by_tensor.end() && found->second == file) add(at, i);
        }
    }
    for (auto const& [tensor, file] : file_by_tensor)
        if (!places_.contains(tensor))
            fail(ExitCode::bad_data, "{}: tensor {} is not there, which {} says to be in it; fetch the folder again",
                 (folder / file).string(), tensor, index_name);
}

StoredTensor const* SafetensorsFolder::find(std::string_view name) const {
    auto const found = places_.find(name);
    return found == places_.end() ? nullptr : &files_[found->second.file].tensors()[found->second.tensor];
}

void SafetensorsFolder::read(std::string_view name, Range elements, float* into) const {
    auto const found = places_.find(name);
    SELVAGE_CHECK(found != places_.end(), "no tensor {}", name);
    SafetensorsFile const& file = files_[found->second.file];
    file.read(file.tensors()[found->second.tensor], elements, into);
}

Path const& SafetensorsFolder::file_of(std::string_view name) const {
    auto const found = places_.find(name);
    SELVAGE_CHECK(found != places_.end(), "no tensor {}", name);
    return files_[found->second.file].path();
}

}  // namespace selvage::io

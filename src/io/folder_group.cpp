// SPDX-License-Identifier: Apache-2.0
#include "io/folder_group.h"

#include <sstream>

namespace selvage::io {
namespace {

std::string file_dataset(std::string const& name) { return fmt::format("{}/{}", folder_files_group, name); }

// A line for each tensor.
std::string dtypes_text(FolderContents const& folder) {
    std::string text;
    for (auto const& [tensor, dtype] : folder.dtypes) text += fmt::format("{} {}\n", dtype, tensor);
    return text;
}

std::map<std::string, std::string> parse_dtypes(std::string const& text) {
    std::map<std::string, std::string> dtypes;
    std::istringstream lines(text);
    for (std::string dtype, tensor; lines >> dtype && lines.ignore() && std::getline(lines, tensor);)
        dtypes[tensor] = dtype;
    return dtypes;
}

void write_bytes(FileWriter& file, std::string const& name, std::string const& description, std::string const& bytes) {
    file.array(name, Element::u8, {description, "byte"}, {static_cast<std::int64_t>(bytes.size())}, bytes.data());
}

std::string read_bytes(FileReader const& file, std::string const& name) {
    auto const bytes = file.values<std::uint8_t>(name);
    return {bytes.begin(), bytes.end()};
}

std::map<std::string, std::string> agreed(Communicator& all, std::map<std::string, std::string> texts) {
    std::vector<std::pair<std::string, std::string>> entries(texts.begin(), texts.end());
    auto count = static_cast<std::int64_t>(entries.size());
    all.broadcast(std::as_writable_bytes(std::span(&count, 1)), 0);
    entries.resize(static_cast<std::size_t>(count));
    for (auto& [name, text] : entries) {
        name = broadcast_text(all, std::move(name), 0);
        text = broadcast_text(all, std::move(text), 0);
    }
    return {entries.begin(), entries.end()};
}

}  // namespace

void write_folder(FileWriter& file, FolderContents const& folder) {
    file.group(std::string(folder_group));
    file.group(std::string(folder_files_group));
    for (auto const& [name, bytes] : folder.files)
        write_bytes(file, file_dataset(name), "a file of the folder that the model was imported from", bytes);
    write_bytes(file, std::string(folder_dtypes), "a line for each tensor of that folder: its dtype and its name",
                dtypes_text(folder));
}

FolderContents read_folder(FileReader const& file) {
    FolderContents folder;
    if (!file.is_group(std::string(folder_group))) return folder;
    for (std::string const& name : file.names_in(std::string(folder_files_group)))
        folder.files[name] = read_bytes(file, file_dataset(name));
    folder.dtypes = parse_dtypes(read_bytes(file, std::string(folder_dtypes)));
    return folder;
}

std::int64_t folder_bytes(FolderContents const& folder) {
    std::size_t bytes = dtypes_text(folder).size();
    for (auto const& [name, content] : folder.files) bytes += content.size();
    return static_cast<std::int64_t>(bytes);
}

FolderContents agreed_folder(Communicator& all, FolderContents folder) {
    folder.files = agreed(all, std::move(folder.files));
    folder.dtypes = agreed(all, std::move(folder.dtypes));
    return folder;
}

}  // namespace selvage::io

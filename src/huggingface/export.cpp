// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "comm/agree.h"
#include "huggingface/file_system.h"
#include "huggingface/folder.h"
#include "huggingface/weights.h"
#include "model/model.h"

namespace selvage::huggingface {
namespace {

namespace fs = std::filesystem;

constexpr char const* config_name = "config.json";
constexpr std::int64_t piece_bytes = std::int64_t{16} << 20;  // of values that a rank holds at a time

// The types of a folder's weights by tensor, or one for all.
void set_types(std::vector<io::StoredTensor>& tensors, std::map<std::string, std::string> const& dtypes,
               std::string const& wanted) {
    for (io::StoredTensor& tensor : tensors) {
        auto const found = dtypes.find(tensor.name);
        tensor.type = !wanted.empty() ? wanted : found != dtypes.end() ? found->second : "F32";
        io::stored_type_named(tensor.type, "the dtype to export in is");
    }
}

// Files of the folder beside the weights.
io::FolderContents contents_of(io::CheckpointInfo const& info, ModelConfig const& config, io::StoredType weights,
                               std::string const& wanted) {
    io::FolderContents folder = info.folder;
    if (folder.files.contains(config_name)) {
        std::string& text = folder.files[config_name];
        if (!wanted.empty()) text = with_dtype(text, weights);
        return folder;
    }
    folder.files[config_name] = write_config(config, weights, info.tokenizer.special);
    if (!info.tokenizer.model.empty()) folder.files["tokenizer.model"] = info.tokenizer.model;
    return folder;
}

Family const& family_of(std::string const& config_text) {
    json::value const parsed = json::parse(config_text);
    return family_named(json::value_to<std::string>(parsed.at("model_type")), config_name);
}

void write_file(io::Path const& path, std::string const& bytes) {
    std::ofstream file(path, std::ios::binary);
    file << bytes;
    file.close();
    if (!file) fail(ExitCode::io, "cannot write {}; check the disk and the permissions", path.string());
}

void check_target(io::Path const& folder, io::Path const& partial) {
    if (fs::exists(folder) && !(fs::is_directory(folder) && fs::is_empty(folder)))
        fail(ExitCode::io, "{} is there and not an empty folder; remove it, or export to another name",
             folder.string());
    if (fs::exists(partial))
        fail(ExitCode::io, "{} is there (another export under way, or one that was killed); remove it",
             partial.string());
}

// Names come from a file, and go nowhere else than into the folder.
void write_files(io::Path const& partial, io::FolderContents const& contents) {
    for (auto const& [name, bytes] : contents.files) {
        if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
            fail(ExitCode::bad_data, "'{}' in /huggingface/files of the model is no name of a file", name);
        write_file(partial / name, bytes);
    }
}

// This rank's pieces, which it takes in turn with the others.
void write_pieces(io::ParameterFile const& file, io::SafetensorsWriter const& writer, Family const& family,
                  ModelConfig const& config, Communicator& world) {
    std::int64_t turn = 0;
    std::vector<float> values;
    for (ParameterSpec const& parameter : parameter_specs(config)) {
        Source const source = source_of(family, config, parameter);
        std::int64_t const width = row_elements(parameter);
        std::int64_t const step = std::max<std::int64_t>(1, piece_bytes / (4 * width));
        for (std::int64_t begin = 0; begin < rows_of(parameter); begin += step) {
            if (turn++ % world.size() != world.rank()) continue;
            Range const rows{begin, std::min(begin + step, rows_of(parameter))};
            values.resize(static_cast<std::size_t>(rows.size() * width));
            file.read(parameter, rows, values.data());
            source.for_each_run(rows, [&](Range run, std::int64_t first) {
                writer.write(source.tensor, {first * width, (first + run.size()) * width},
                             values.data() + (run.begin - rows.begin) * width);
            });
        }
    }
}

}  // namespace

std::int64_t export_model(io::IoThread& io, Communicator& world, io::Path const& model, io::CheckpointInfo const& info,
                          ModelConfig const& config, io::Path const& folder, ExportOptions const& options) {
    std::vector<ParameterSpec> const parameters = parameter_specs(config);
    io::StoredType const first_guess =
        options.dtype.empty() ? io::StoredType::f32 : io::stored_type_named(options.dtype, "the dtype to export in is");
    io::FolderContents const contents = contents_of(info, config, first_guess, options.dtype);
    Family const& family = family_of(contents.files.at(config_name));
    auto tensors = tensors_of(family, config, parameters);
    set_types(tensors, contents.dtypes, options.dtype);
    io::Path const target = fs::absolute(folder).lexically_normal();
    io::Path const partial = (target.has_filename() ? target : target.parent_path()).string() + ".partial";
    io::SafetensorsWriter writer(partial, std::move(tensors), options.most_bytes);
    io::ParameterFile const file(io, model, parameters);
    bool made = false;
    try {
        agree(world, [&] {
            if (world.rank() != 0) return;
            as_io_error([&] {
                check_target(target, partial);
                fs::create_directories(partial.parent_path());
                made = fs::create_directory(partial);
            });
            writer.create();
            write_files(partial, contents);
        });
        agree(world, [&] {
            writer.open();
            write_pieces(file, writer, family, config, world);
            writer.sync();
        });
        agree(world, [&] {
            if (world.rank() == 0)
                as_io_error([&] { fs::rename(partial, target.has_filename() ? target : target.parent_path()); });
        });
    } catch (...) {
        std::error_code ignored;
        if (made) fs::remove_all(partial, ignored);
        throw;
    }
    return writer.bytes();
}

}  // namespace selvage::huggingface

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "io/contents.h"
#include "io/file_reader.h"
#include "io/folder_group.h"
#include "io/tokenizer_group.h"
#include "tensor/host_copy.h"

namespace selvage::io {
namespace {

constexpr std::int64_t piece_bytes = std::int64_t{64} << 20;

std::string dataset_name(std::string_view group, ParameterSpec const& parameter) {
    return fmt::format("{}/{}", group, parameter.name);
}

std::vector<std::int64_t> dims_of(ParameterSpec const& parameter) {
    std::vector<std::int64_t> dims;
    for (int i = 0; i < parameter.shape.rank(); ++i) dims.push_back(parameter.shape[i]);
    return dims;
}

// Parameters, or their specs.
template <class Parameters>
void check_model(FileReader const& file, Parameters const& parameters, std::string_view group) {
    std::string const path = file.path().string();
    auto const names = file.names_in(std::string(group));
    std::set<std::string> left(names.begin(), names.end());
    for (auto const& parameter : parameters) {
        ParameterSpec const& spec = spec_of(parameter);
        if (left.erase(spec.name) == 0)
            fail(ExitCode::bad_data, "{} has no {}/{}; it is of another model", path, group, spec.name);
        auto const dims = file.dims_of(dataset_name(group, spec), Element::f32, spec.shape.rank());
        for (std::size_t i = 0; i < dims.size(); ++i)
            if (dims[i] != spec.shape[static_cast<int>(i)])
                fail(ExitCode::bad_data,
                     "{}: {}/{} has dim {} of {} where the model has shape {}; it is of another model", path, group,
                     spec.name, i, dims[i], spec.shape.text());
    }
    if (!left.empty())
        fail(ExitCode::bad_data, "{} has {}/{}, which the model has not; it is of another model", path, group,
             *left.begin());
}

std::int64_t rows_of(ParameterSpec const& parameter) { return parameter.shape.rank() > 0 ? parameter.shape[0] : 1; }

// Calls bring(parameter, rows, values), which fills in whole rows, piece by piece; keeps what this rank holds of them.
template <class Bring>
void fill(ParameterSet& parameters, Bring const& bring) {
    std::vector<float> values;
    FloatWriter writer(parameters.values(), parameters.device());
    for (Parameter const& parameter : parameters.parameters()) {
        std::int64_t const rows = rows_of(parameter.spec);
        if (parameter.spec.shape.elements() == 0) continue;
        std::int64_t const row_elements = parameter.spec.shape.elements() / rows;
        std::int64_t const step = std::max<std::int64_t>(1, piece_bytes / (4 * row_elements));
        Placement const place = placement_on(parameter.spec, parameters.rank());
        std::int64_t const first = parameter.offset - parameters.held().begin;  // of the parameter, in values()
        for (std::int64_t begin = 0; begin < rows; begin += step) {
            Range const piece{begin, std::min(rows, begin + step)};
            Range const elements{piece.begin * row_elements, piece.end * row_elements};
            Range const part = held_among(place, elements).intersect({-first, parameters.held().size() - first});
            values.resize(static_cast<std::size_t>(piece.size() * row_elements));
            bring(parameter.spec, piece, part.size() > 0, std::span(values));
            if (part.size() > 0)
                writer.write({first + part.begin, first + part.end},
                             [&](float* mine) { copy_from_whole(mine, place, part, values.data(), elements.begin); });
        }
    }
}

// Readers (one per node) take turns at pieces and give them to all.
void read_parameters(Communicator& all, FileReader const* file, std::vector<int> const& readers,
                     ParameterSet& parameters) {
    std::size_t turn = 0;
    fill(parameters, [&](ParameterSpec const& parameter, Range piece, bool, std::span<float> values) {
        int const reader = readers[turn++ % readers.size()];
        agree(all, [&] {
            if (all.rank() == reader)
                file->read(dataset_name(parameters_group, parameter), Element::f32, dims_of(parameter), piece,
                           values.data());
        });
        all.broadcast(std::as_writable_bytes(values), reader);
    });
}

// This rank's part of one moment, each rank for itself.
void read_moment(FileReader const& file, ParameterSet const& parameters, std::string_view group, Range shard,
                 TensorView out) {
    FloatWriter writer(out, parameters.device());
    writer.fill(0);
    std::vector<float> rows;
    for (Parameter const& parameter : parameters.parameters()) {
        Range const part = shard.intersect({parameter.offset, parameter.offset + parameter.shape.elements()});
        if (part.size() == 0) continue;
        Placement const place = placement_on(parameter.spec, parameters.rank());
        Range const held{part.begin - parameter.offset, part.end - parameter.offset};
        // The rows of the file that they are in.
        std::int64_t const row_elements = parameter.spec.shape.elements() / rows_of(parameter.spec);
        std::int64_t const held_of_row = place.rows == 1 ? row_elements : place.columns;
        std::int64_t const first_row = place.rows == 1 ? place.first / row_elements : 0;
        Range const needed{first_row + held.begin / held_of_row,
                           first_row + (held.end + held_of_row - 1) / held_of_row};
        std::int64_t const step = std::max<std::int64_t>(1, piece_bytes / (4 * row_elements));
        for (std::int64_t begin = needed.begin; begin < needed.end; begin += step) {
            Range const piece{begin, std::min(needed.end, begin + step)};
            rows.resize(static_cast<std::size_t>(piece.size() * row_elements));
            file.read(dataset_name(group, parameter.spec), Element::f32, dims_of(parameter.spec), piece, rows.data());
            Range const elements{piece.begin * row_elements, piece.end * row_elements};
            Range const taken = held.intersect(held_among(place, elements));
            std::int64_t const first = parameter.offset - shard.begin;  // of the parameter, in `out`
            if (taken.size() > 0)
                writer.write({first + taken.begin, first + taken.end}, [&](float* values) {
                    copy_from_whole(values, place, taken, rows.data(), elements.begin);
                });
        }
    }
}

std::vector<int> choose_readers(Communicator& all) {
    std::uint8_t const flag = all.split_by_node()->rank() == 0;
    std::vector<std::uint8_t> flags(static_cast<std::size_t>(all.size()));
    all.all_gather(std::as_bytes(std::span(&flag, 1)), std::as_writable_bytes(std::span(flags)));
    std::vector<int> readers;
    for (int r = 0; r < all.size(); ++r)
        if (flags[static_cast<std::size_t>(r)] != 0) readers.push_back(r);
    return readers;
}

void read_all(Communicator& all, Path const& path, ParameterSet& parameters, OptimizerShard const* shard) {
    Checksums const checksums = verify_checksums(path, &all);
    std::vector<int> const readers = choose_readers(all);
    std::unique_ptr<FileReader> file;
    agree(all, [&] {
        bool const reads = std::find(readers.begin(), readers.end(), all.rank()) != readers.end();
        if (!reads && shard == nullptr) return;
        file = std::make_unique<FileReader>(path, checksums);
        if (file->format() != "selvage-model" || shard != nullptr) file->expect("selvage-checkpoint");
        check_model(*file, parameters.parameters(), parameters_group);
        if (shard == nullptr) return;
        check_model(*file, parameters.parameters(), first_moment_group);
        check_model(*file, parameters.parameters(), second_moment_group);
    });
    read_parameters(all, file.get(), readers, parameters);
    if (shard == nullptr) return;
    agree(all, [&] {
        read_moment(*file, parameters, first_moment_group, shard->shard, shard->first_moment);
        read_moment(*file, parameters, second_moment_group, shard->shard, shard->second_moment);
    });
}

RunState load_state(FileReader const& file) {
    RunState state;
    state.step = file.scalar("/state/step");
    state.round = file.scalar("/state/round");
    std::int64_t const sweep = file.scalar("/state/sweep");
    if (sweep < 0 || sweep > static_cast<std::int64_t>(Phase::finished))
        file.fail_at("/state/sweep", std::to_string(sweep));
    state.phase = static_cast<Phase>(sweep);
    state.cursor = file.scalar("/state/cursor");
    state.step_in_round = file.scalar("/state/step_in_round");
    std::string const prefix = "rows_";
    for (std::string const& name : file.names_in("/state"))
        if (name.starts_with(prefix)) state.table_rows[name.substr(prefix.size())] = file.scalar("/state/" + name);
    return state;
}

}  // namespace

CheckpointInfo load_info(FileReader const& file) {
    if (file.format() != "selvage-model") file.expect("selvage-checkpoint");
    CheckpointInfo info;
    info.deck = file.deck();
    auto const model = file.text_attribute("/", "model");
    if (!model) file.fail_at("/", "without the attribute model");
    info.model = *model;
    info.data_digest = file.text_attribute("/", "data_digest").value_or("");
    info.tokenizer = read_tokenizer(file);
    info.folder = read_folder(file);
    if (file.format() == "selvage-checkpoint") info.state = load_state(file);
    return info;
}

CheckpointInfo read_checkpoint_info(IoThread& io, Path const& path) {
    return io.call([&] { return load_info(FileReader(path)); });
}

void fill_parameters(ParameterSet& parameters, RowSource const& source) {
    parameters.device().synchronize();
    fill(parameters, [&](ParameterSpec const& parameter, Range piece, bool holds, std::span<float> values) {
        if (holds) source(parameter, piece, values.data());
    });
}

ParameterFile::ParameterFile(IoThread& io, Path const& path, std::vector<ParameterSpec> const& parameters) : io_(io) {
    io.call([&] {
        Communicator& all = io.communicator();
        Checksums const checksums = verify_checksums(path, &all);
        agree(all, [&] {
            file_ = std::make_unique<FileReader>(path, checksums);
            if (file_->format() != "selvage-model") file_->expect("selvage-checkpoint");
            check_model(*file_, parameters, parameters_group);
        });
    });
}

ParameterFile::~ParameterFile() {
    io_.call([&] { file_.reset(); });
}

void ParameterFile::read(ParameterSpec const& parameter, Range rows, float* into) const {
    io_.call(
        [&] { file_->read(dataset_name(parameters_group, parameter), Element::f32, dims_of(parameter), rows, into); });
}

void read_checkpoint(IoThread& io, Path const& path, ParameterSet& parameters, OptimizerShard const* shard) {
    parameters.device().synchronize();
    io.call([&] { read_all(io.communicator(), path, parameters, shard); });
}

}  // namespace selvage::io

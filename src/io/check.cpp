// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "io/contents.h"

namespace selvage::io {
namespace {

constexpr std::int64_t piece_bytes = std::int64_t{64} << 20;

// What every file of ours carries; other programs' data files need not.
void check_notes(FileReader const& file) {
    for (std::string const name : {"selvage_version", "git_commit", "created"})
        if (!file.text_attribute("/", name)) file.fail_at("/", "without the attribute " + name);
    for (std::string const& name : file.datasets())
        for (std::string const note : {"description", "units"})
            if (!file.text_attribute(name, note)) file.fail_at(name, "without the attribute " + note);
}

void check_columns(FileReader const& file) {
    for (Column const& column : columns_of(file.format())) {
        // Other programs may have no use for the serialized model.
        bool const optional = !file.has_checksums() && column.name == "/tokenizer/model";
        if ((optional || column.since_0_2) && !file.exists(column.name)) continue;
        file.dims_of(column.name, column.element, column.rank);
        if (!file.has_checksums()) continue;
        bool const marked = file.integer_attribute(column.name, "volatile").value_or(0) == 1;
        if (marked != column.notes.is_volatile)
            file.fail_at(column.name, marked ? "marked volatile" : "not marked volatile");
    }
}

// Every value finite, and not below `least`.
void check_values(FileReader const& file, std::string const& name, std::vector<std::int64_t> const& dims, float least) {
    std::int64_t const rows = dims.empty() ? 1 : dims[0];
    std::int64_t row_elements = 1;
    for (std::size_t i = 1; i < dims.size(); ++i) row_elements *= dims[i];
    std::int64_t const step = std::max<std::int64_t>(1, piece_bytes / std::max<std::int64_t>(1, 4 * row_elements));
    std::vector<float> values;
    for (std::int64_t begin = 0; begin < rows && row_elements > 0; begin += step) {
        Range const piece{begin, std::min(rows, begin + step)};
        values.resize(static_cast<std::size_t>(piece.size() * row_elements));
        file.read(name, Element::f32, dims, piece, values.data());
        check_finite<float>(file, name, values, begin * row_elements);
        for (std::size_t i = 0; i < values.size(); ++i)
            if (values[i] < least)
                file.fail_at(name,
                             fmt::format("{} at {}", values[i], begin * row_elements + static_cast<std::int64_t>(i)));
    }
}

void check_parameters(FileReader const& file) {
    auto const names = file.names_in(std::string(parameters_group));
    if (names.empty()) file.fail_at(parameters_group, "empty");
    bool const has_moments = file.format() == "selvage-checkpoint";
    constexpr float any = std::numeric_limits<float>::lowest();
    for (std::string_view const group : {parameters_group, master_group, first_moment_group, second_moment_group}) {
        if (!has_moments && group != parameters_group) continue;
        if (file.names_in(std::string(group)) != names)
            file.fail_at(group, "not of the same parameters as /parameters");
        for (std::string const& name : names) {
            std::string const full = fmt::format("{}/{}", group, name);
            auto const dims = file.dims_of(full, Element::f32, -1);
            if (dims != file.dims_of(fmt::format("{}/{}", parameters_group, name), Element::f32, -1))
                file.fail_at(full, "of another shape than the parameter");
            // The master copy is a second name of the parameter's dataset.
            if (group != master_group) check_values(file, full, dims, group == second_moment_group ? 0 : any);
        }
    }
}

// What a job asks of its data, beyond what a reader does.
void check_pairs(FileReader const& file, DataFile const& data) {
    Token const end = data.tokenizer.special.end_of_answer;
    for (std::size_t i = 0; i < data.prompt_length.size(); ++i) {
        std::int64_t const length = data.offsets[i + 1] - data.offsets[i];
        std::int64_t const prompt = data.prompt_length[i];
        if (prompt < 1 || prompt >= length)
            file.fail_at(
                "/prompt_length",
                fmt::format("{} at {}, where prompt and answer share {} tokens and need one each", prompt, i, length));
        std::int64_t const last = data.offsets[i + 1] - 1;
        if (Token const token = data.tokens[static_cast<std::size_t>(last)]; token != end)
            file.fail_at("/tokens", fmt::format("{} at {}, where the answer of pair {} needs end-of-answer ({})", token,
                                                last, i, end));
    }
}

void check_contents(FileReader const& file) {
    std::string const& format = file.format();
    if (format == "selvage-data") check_pairs(file, load_data(file));
    if (format == "selvage-drafts") load_drafts(file);
    if (format == "selvage-woven") load_woven(file);
    if (format == "selvage-scores") load_scores(file);
    if (format == "selvage-run") {
        RunTables const tables = load_run(file);
        for (std::size_t i = 0; i < tables.steps.size(); ++i)
            if (!std::isfinite(tables.steps[i].loss) && tables.steps[i].skipped == 0)
                file.fail_at("/steps/loss", fmt::format("{} at {}", tables.steps[i].loss, i));
    }
    if (format == "selvage-model" || format == "selvage-checkpoint") {
        load_info(file);
        check_parameters(file);
    }
}

}  // namespace

void check_file(IoThread& io, Path const& path) {
    io.call([&] {
        FileReader const file(path);
        if (file.has_checksums()) check_notes(file);
        check_columns(file);
        check_contents(file);
    });
}

}  // namespace selvage::io

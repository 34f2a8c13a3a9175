// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/timer.h"
#include "io/contents.h"

namespace selvage::io {
namespace {

// Lines of datasets before the rest is only counted.
constexpr std::size_t most_lines = 30;

std::string first_line(std::string const& text) {
    constexpr std::size_t longest = 60;
    std::string line = text.substr(0, text.find('\n'));
    if (line.size() > longest) line.resize(longest);
    return line.size() == text.size() ? line : line + " ...";
}

std::string attribute_lines(Attributes const& attributes) {
    std::string text;
    for (auto const& [name, value] : attributes.text) text += fmt::format("  {:<24} {}\n", name, first_line(value));
    for (auto const& [name, value] : attributes.integers) text += fmt::format("  {:<24} {}\n", name, value);
    for (auto const& [name, value] : attributes.numbers) text += fmt::format("  {:<24} {}\n", name, value);
    return text;
}

std::string state_lines(FileReader const& file) {
    if (file.format() != "selvage-checkpoint") return "";
    static constexpr char const* phases[] = {"evaluation before the first round", "generation", "training",
                                             "evaluation", "nothing, the run is finished"};
    RunState const state = load_info(file).state;
    return fmt::format("state\n  {} steps done, round {}, next: {}\n", state.step, state.round,
                       phases[static_cast<std::size_t>(state.phase)]);
}

std::string parameter_line(FileReader const& file) {
    auto const names = file.names_in(std::string(parameters_group));
    if (names.empty()) return "";
    std::int64_t elements = 0;
    for (std::string const& name : names) {
        std::int64_t product = 1;
        for (std::int64_t const dim : file.dims_of(fmt::format("{}/{}", parameters_group, name), Element::f32, -1))
            product *= dim;
        elements += product;
    }
    return fmt::format("parameters\n  {} tensors, {} elements\n", names.size(), elements);
}

}  // namespace

std::string describe_file(IoThread& io, Path const& path) {
    return io.call([&] {
        FileReader const file(path);
        std::string text =
            fmt::format("{}\n  {}, format version {}, {}, {}\n", path.string(), file.format(), format_version,
                        format_bytes(static_cast<double>(std::filesystem::file_size(path))),
                        file.has_checksums() ? "checksums verified" : "no checksums (another program's)");
        text +=
            fmt::format("  written {} by selvage {} (commit {})\n", file.text_attribute("/", "created").value_or("?"),
                        file.text_attribute("/", "selvage_version").value_or("?"),
                        file.text_attribute("/", "git_commit").value_or("?"));
        if (std::string const deck = file.deck(); !deck.empty())
            text += fmt::format("  deck of {} lines\n", std::count(deck.begin(), deck.end(), '\n'));
        if (std::string const lines = attribute_lines(file.attributes()); !lines.empty())
            text += "attributes\n" + lines;
        text += state_lines(file) + parameter_line(file) + "datasets\n";
        auto const names = file.datasets();
        for (std::size_t i = 0; i < std::min(most_lines, names.size()); ++i)
            text += fmt::format("  {:<44} {}\n", names[i], file.summary_of(names[i]));
        if (names.size() > most_lines) text += fmt::format("  and {} more\n", names.size() - most_lines);
        return text;
    });
}

}  // namespace selvage::io

// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "data/prepare.h"

namespace selvage {
namespace {

std::string length_row(char const* name, std::vector<std::int64_t> lengths) {
    std::ranges::sort(lengths);
    // Nearest rank: the smallest length that at least `percent` of the pairs do not exceed.
    auto const at = [&](std::size_t percent) { return lengths[(lengths.size() * percent + 99) / 100 - 1]; };
    auto const sum = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}));
    return fmt::format("{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>10.1f}\n", name, lengths.front(), at(50), at(90), at(95),
                       at(99), lengths.back(), sum / static_cast<double>(lengths.size()));
}

std::string lengths_of(io::DataFile const& file) {
    std::vector<std::int64_t> prompt, answer, together;
    for (std::size_t i = 0; i < file.prompt_length.size(); ++i) {
        together.push_back(file.offsets[i + 1] - file.offsets[i]);
        prompt.push_back(file.prompt_length[i]);
        answer.push_back(together.back() - prompt.back());
    }
    return fmt::format("{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>10}\n", "tokens", "least", "50%", "90%", "95%", "99%",
                       "most", "mean") +
           length_row("prompt", prompt) + length_row("answer", answer) + length_row("together", together);
}

// "  a.jsonl: 3-5 9\n" for each file.
std::string numbers_of(std::vector<LineList::Line> const& lines, std::vector<std::string> const& inputs) {
    std::string text;
    for (std::size_t i = 0; i < lines.size();) {
        if (i == 0 || lines[i].file != lines[i - 1].file)
            text += fmt::format("{}  {}:", i == 0 ? "" : "\n", inputs[static_cast<std::size_t>(lines[i].file)]);
        std::size_t end = i + 1;
        while (end < lines.size() && lines[end].file == lines[i].file && lines[end].number == lines[end - 1].number + 1)
            ++end;
        text += fmt::format(" {}", lines[i].number);
        if (end > i + 1) text += fmt::format("-{}", lines[end - 1].number);
        i = end;
    }
    return text + "\n";
}

}  // namespace

std::string describe(PreparedData const& data, std::vector<std::string> const& inputs, PrepareOptions const& options) {
    PrepareReport const& report = data.report;
    std::string text = lengths_of(data.file);
    if (report.empty_lines > 0) text += fmt::format("empty lines: {}\n", report.empty_lines);
    for (LineList const& list : report.dropped)
        text += fmt::format("dropped, {}: {}\n{}", list.what, list.lines.size(), numbers_of(list.lines, inputs));
    if (auto const& lines = report.duplicates.lines; !lines.empty())
        text += fmt::format("{}, {}: {}\n{}",
                            options.drop_duplicates ? "dropped" : "kept (--duplicates drop leaves them out)",
                            report.duplicates.what, lines.size(), numbers_of(lines, inputs));
    return text;
}

}  // namespace selvage

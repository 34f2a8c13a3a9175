// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <tuple>

#include "io/contents.h"
#include "io/file_writer.h"
#include "io/tokenizer_group.h"

namespace selvage::io {
namespace {

auto key(Woven const& row) { return std::tuple(row.example, row.sample, row.method); }

// One value per position, of all rows.
template <class To, class Field>
std::vector<To> joined(std::vector<Woven> const& rows, Field field) {
    std::vector<To> out;
    for (Woven const& row : rows)
        for (auto const value : row.*field) out.push_back(static_cast<To>(value));
    return out;
}

// One value per item.
template <class To, class Item, class Field>
std::vector<To> picked(std::vector<Item> const& items, Field field) {
    std::vector<To> out;
    for (Item const& item : items) out.push_back(static_cast<To>(item.*field));
    return out;
}

std::vector<std::int64_t> offsets_of(std::vector<Woven> const& rows) {
    std::vector<std::int64_t> offsets = {0};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Woven const& row = rows[i];
        std::size_t const length = row.input_tokens.size();
        SELVAGE_CHECK(row.target_tokens.size() == length && row.loss_weight.size() == length &&
                          row.origin.size() == length && row.target_origin.size() == length,
                      "the sequences of woven row {} differ in length", i);
        SELVAGE_CHECK(i == 0 || key(rows[i - 1]) <= key(row), "woven row {} is out of order", i);
        offsets.push_back(offsets.back() + static_cast<std::int64_t>(length));
    }
    return offsets;
}

void write_uses(FileWriter& out, std::vector<Use> const& uses) {
    out.group("/uses");
    out.column("/uses/step", picked<std::int64_t>(uses, &Use::step));
    out.column("/uses/lane", picked<std::int32_t>(uses, &Use::lane));
    out.column("/uses/row", picked<std::int32_t>(uses, &Use::row));
    out.column("/uses/offset", picked<std::int32_t>(uses, &Use::offset));
    out.column("/uses/index", picked<std::int64_t>(uses, &Use::index));
}

std::vector<Use> load_uses(FileReader const& file, std::size_t rows) {
    auto const step = file.values<std::int64_t>("/uses/step");
    auto const lane = file.values<std::int32_t>("/uses/lane");
    auto const row = file.values<std::int32_t>("/uses/row");
    auto const offset = file.values<std::int32_t>("/uses/offset");
    auto const index = file.values<std::int64_t>("/uses/index");
    check_length(file, "/uses/lane", lane.size(), step.size());
    check_length(file, "/uses/row", row.size(), step.size());
    check_length(file, "/uses/offset", offset.size(), step.size());
    check_length(file, "/uses/index", index.size(), step.size());
    check_range(file, "/uses/index", index, 0, static_cast<std::int64_t>(rows) - 1);
    std::vector<Use> uses(step.size());
    for (std::size_t i = 0; i < uses.size(); ++i) uses[i] = {step[i], lane[i], row[i], offset[i], index[i]};
    return uses;
}

void check_row(FileReader const& file, Woven const& row, std::size_t index, std::int64_t first) {
    auto const length = static_cast<std::int64_t>(row.input_tokens.size());
    if (row.answer_start < 0 || row.answer_start > length)
        file.fail_at("/answer_start",
                     fmt::format("{} at {}, where the row has {} positions", row.answer_start, index, length));
    for (std::int64_t i = 0; i < length; ++i) {
        auto const at = static_cast<std::size_t>(i);
        if (row.loss_weight[at] < 0 || (row.loss_weight[at] > 0 && i < row.answer_start))
            file.fail_at("/loss_weight", fmt::format("{} at {} (position {} of row {}, whose answer starts at {})",
                                                     row.loss_weight[at], first + i, i, index, row.answer_start));
        if (row.loss_weight[at] > 0 && row.target_origin[at] == Origin::generated)
            file.fail_at("/loss_weight", fmt::format("{} at {} (position {} of row {}), where the target is generated",
                                                     row.loss_weight[at], first + i, i, index));
    }
}

}  // namespace

void write_woven(IoThread& io, Path const& path, WovenFile const& file) {
    io.call([&] {
        std::vector<std::int64_t> const offsets = offsets_of(file.rows);
        std::int64_t const bytes = 14 * offsets.back() + static_cast<std::int64_t>(25 * offsets.size()) +
                                   static_cast<std::int64_t>(28 * file.uses.size() + file.deck.size());
        FileWriter out(path, "selvage-woven", {nullptr, expected_file_bytes(bytes, 15)});
        out.root_attributes(file.deck, file.attributes);
        out.column("/input_tokens", joined<Token>(file.rows, &Woven::input_tokens));
        out.column("/target_tokens", joined<Token>(file.rows, &Woven::target_tokens));
        out.column("/loss_weight", joined<float>(file.rows, &Woven::loss_weight));
        out.column("/origin", joined<std::uint8_t>(file.rows, &Woven::origin));
        out.column("/target_origin", joined<std::uint8_t>(file.rows, &Woven::target_origin));
        out.column("/offsets", offsets);
        out.column("/example", picked<std::int64_t>(file.rows, &Woven::example));
        out.column("/sample", picked<std::int32_t>(file.rows, &Woven::sample));
        out.column("/answer_start", picked<std::int32_t>(file.rows, &Woven::answer_start));
        out.column("/method", picked<std::uint8_t>(file.rows, &Woven::method));
        write_uses(out, file.uses);
        out.commit();
    });
}

WovenFile load_woven(FileReader const& file) {
    file.expect("selvage-woven");
    auto const offsets = file.values<std::int64_t>("/offsets");
    auto const input = file.values<Token>("/input_tokens");
    auto const target = file.values<Token>("/target_tokens");
    auto const weight = file.values<float>("/loss_weight");
    auto const origin = file.values<std::uint8_t>("/origin");
    auto const target_origin = file.values<std::uint8_t>("/target_origin");
    auto const example = file.values<std::int64_t>("/example");
    auto const sample = file.values<std::int32_t>("/sample");
    auto const answer_start = file.values<std::int32_t>("/answer_start");
    auto const method = file.values<std::uint8_t>("/method");
    check_offsets(file, "/offsets", offsets, input.size());
    std::size_t const rows = offsets.size() - 1;
    check_length(file, "/target_tokens", target.size(), input.size());
    check_length(file, "/loss_weight", weight.size(), input.size());
    check_length(file, "/origin", origin.size(), input.size());
    check_length(file, "/target_origin", target_origin.size(), input.size());
    check_length(file, "/example", example.size(), rows);
    check_length(file, "/sample", sample.size(), rows);
    check_length(file, "/answer_start", answer_start.size(), rows);
    check_length(file, "/method", method.size(), rows);
    check_range(file, "/input_tokens", input, 0, std::numeric_limits<Token>::max());
    check_range(file, "/target_tokens", target, 0, std::numeric_limits<Token>::max());
    check_range(file, "/origin", origin, 0, 3);
    check_range(file, "/target_origin", target_origin, 0, 3);
    check_range(file, "/method", method, 0, 2);
    check_finite<float>(file, "/loss_weight", weight);

    WovenFile out;
    out.deck = file.deck();
    out.attributes = file.attributes();
    out.rows.resize(rows);
    for (std::size_t i = 0; i < rows; ++i) {
        Woven& row = out.rows[i];
        auto const begin = offsets[i], end = offsets[i + 1];
        row.example = example[i];
        row.sample = sample[i];
        row.method = static_cast<Method>(method[i]);
        row.answer_start = answer_start[i];
        row.input_tokens.assign(input.begin() + begin, input.begin() + end);
        row.target_tokens.assign(target.begin() + begin, target.begin() + end);
        row.loss_weight.assign(weight.begin() + begin, weight.begin() + end);
        for (auto at = begin; at < end; ++at) {
            row.origin.push_back(static_cast<Origin>(origin[static_cast<std::size_t>(at)]));
            row.target_origin.push_back(static_cast<Origin>(target_origin[static_cast<std::size_t>(at)]));
        }
        check_row(file, row, i, begin);
        if (i > 0 && key(row) < key(out.rows[i - 1])) file.fail_at("/example", fmt::format("out of order at {}", i));
    }
    out.uses = load_uses(file, rows);
    return out;
}

WovenFile read_woven(IoThread& io, Path const& path) {
    return io.call([&] { return load_woven(FileReader(path)); });
}

}  // namespace selvage::io

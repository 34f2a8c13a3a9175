// SPDX-License-Identifier: Apache-2.0
#include "io/run_tables.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "io/file_writer.h"
#include "io/tokenizer_group.h"

namespace selvage::io {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::string_view by_position = "_by_position";

template <class Value, class Row>
std::vector<Value> picked(std::vector<Row> const& rows, Value Row::*field) {
    std::vector<Value> out;
    for (Row const& row : rows) out.push_back(row.*field);
    return out;
}

// Columns of one table into rows.
template <class Value, class Row>
void put(std::vector<Value> const& column, std::vector<Row>& rows, Value Row::*field, FileReader const& file,
         std::string const& name) {
    check_length(file, name, column.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].*field = column[i];
}

void write_steps(FileWriter& out, std::vector<StepRow> const& rows) {
    out.group("/steps");
    out.column("/steps/step", picked(rows, &StepRow::step));
    out.column("/steps/round", picked(rows, &StepRow::round));
    out.column("/steps/loss", picked(rows, &StepRow::loss));
    out.column("/steps/grad_norm", picked(rows, &StepRow::grad_norm));
    out.column("/steps/learning_rate", picked(rows, &StepRow::learning_rate));
    out.column("/steps/target_tokens", picked(rows, &StepRow::target_tokens));
    out.column("/steps/seconds", picked(rows, &StepRow::seconds));
    out.column("/steps/skipped", picked(rows, &StepRow::skipped));
}

std::size_t most_ranks(std::vector<SweepRow> const& rows) {
    std::size_t ranks = 1;
    for (SweepRow const& row : rows) ranks = std::max(ranks, row.busy_by_rank.size());
    return ranks;
}

void write_sweeps(FileWriter& out, std::vector<SweepRow> const& rows) {
    out.group("/sweeps");
    out.text_column("/sweeps/kind", picked(rows, &SweepRow::kind));
    out.column("/sweeps/round", picked(rows, &SweepRow::round));
    out.column("/sweeps/tokens", picked(rows, &SweepRow::tokens));
    out.column("/sweeps/examples", picked(rows, &SweepRow::examples));
    out.column("/sweeps/repeated", picked(rows, &SweepRow::repeated));
    out.column("/sweeps/left_over", picked(rows, &SweepRow::left_over));
    out.column("/sweeps/seconds", picked(rows, &SweepRow::seconds));
    out.column("/sweeps/busy", picked(rows, &SweepRow::busy));
    std::size_t const ranks = most_ranks(rows);
    std::vector<double> busy(rows.size() * ranks, nan);
    for (std::size_t i = 0; i < rows.size(); ++i)
        std::copy(rows[i].busy_by_rank.begin(), rows[i].busy_by_rank.end(),
                  busy.begin() + static_cast<std::ptrdiff_t>(i * ranks));
    Column const& column = column_of(out.format(), "/sweeps/busy_by_rank");
    Dims const dims = {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(ranks)};
    out.array(column.name, column.element, column.notes, dims, busy.data());
    out.column("/sweeps/communication", picked(rows, &SweepRow::communication));
}

// The metric in every evaluation; nullptr where it was not measured.
std::vector<MetricValue const*> cells_of(std::vector<EvaluationRow> const& rows, std::string const& metric) {
    std::vector<MetricValue const*> cells;
    for (EvaluationRow const& row : rows) {
        auto const found = row.metrics.find(metric);
        cells.push_back(found != row.metrics.end() ? &found->second : nullptr);
    }
    return cells;
}

void write_positions(FileWriter& out, std::string const& group, std::vector<MetricValue const*> const& cells) {
    std::size_t bins = 0;
    for (MetricValue const* const cell : cells)
        if (cell != nullptr) bins = std::max(bins, cell->by_position.size());
    if (bins == 0) return;
    std::vector<double> values(cells.size() * bins, nan);
    std::vector<std::int64_t> counts(cells.size() * bins, 0);
    for (std::size_t i = 0; i < cells.size(); ++i) {
        if (cells[i] == nullptr) continue;
        std::copy(cells[i]->by_position.begin(), cells[i]->by_position.end(),
                  values.begin() + static_cast<std::ptrdiff_t>(i * bins));
        SELVAGE_CHECK(cells[i]->count_by_position.size() <= bins, "more counts than values by position");
        std::copy(cells[i]->count_by_position.begin(), cells[i]->count_by_position.end(),
                  counts.begin() + static_cast<std::ptrdiff_t>(i * bins));
    }
    Dims const dims = {static_cast<std::int64_t>(cells.size()), static_cast<std::int64_t>(bins)};
    auto const& columns = position_columns();
    out.group(group);
    out.array(group + "/" + columns[0].name, columns[0].element, columns[0].notes, dims, values.data());
    out.array(group + "/" + columns[1].name, columns[1].element, columns[1].notes, dims, counts.data());
}

void write_evaluations(FileWriter& out, std::vector<EvaluationRow> const& rows) {
    out.group("/evaluations");
    std::set<std::string> metrics;
    for (EvaluationRow const& row : rows)
        for (auto const& [metric, value] : row.metrics) metrics.insert(metric);
    Dims const dims = {static_cast<std::int64_t>(rows.size())};
    auto const steps = picked(rows, &EvaluationRow::step), rounds = picked(rows, &EvaluationRow::round);
    for (std::string const& metric : metrics) {
        auto const cells = cells_of(rows, metric);
        std::vector<double> value, low, high;
        for (MetricValue const* const cell : cells) {
            value.push_back(cell != nullptr ? cell->value : nan);
            low.push_back(cell != nullptr ? cell->low : nan);
            high.push_back(cell != nullptr ? cell->high : nan);
        }
        std::string const group = "/evaluations/" + metric;
        void const* const data[] = {steps.data(), rounds.data(), value.data(), low.data(), high.data()};
        out.group(group);
        for (std::size_t i = 0; Column const& column : metric_columns())
            out.array(group + "/" + column.name, column.element, column.notes, dims, data[i++]);
        write_positions(out, group + std::string(by_position), cells);
    }
}

std::vector<StepRow> load_steps(FileReader const& file) {
    auto const step = file.values<std::int64_t>("/steps/step");
    std::vector<StepRow> rows(step.size());
    put(step, rows, &StepRow::step, file, "/steps/step");
    auto const integers = [&](std::string const& name, std::int64_t StepRow::*field) {
        put(file.values<std::int64_t>(name), rows, field, file, name);
    };
    auto const numbers = [&](std::string const& name, double StepRow::*field) {
        put(file.values<double>(name), rows, field, file, name);
    };
    integers("/steps/round", &StepRow::round);
    numbers("/steps/loss", &StepRow::loss);
    numbers("/steps/grad_norm", &StepRow::grad_norm);
    numbers("/steps/learning_rate", &StepRow::learning_rate);
    integers("/steps/target_tokens", &StepRow::target_tokens);
    numbers("/steps/seconds", &StepRow::seconds);
    std::string const skipped = "/steps/skipped";
    if (file.exists(skipped)) put(file.values<std::uint8_t>(skipped), rows, &StepRow::skipped, file, skipped);
    return rows;
}

std::vector<SweepRow> load_sweeps(FileReader const& file) {
    auto const kind = file.texts("/sweeps/kind");
    std::vector<SweepRow> rows(kind.size());
    put(kind, rows, &SweepRow::kind, file, "/sweeps/kind");
    auto const integers = [&](std::string const& name, std::int64_t SweepRow::*field) {
        put(file.values<std::int64_t>(name), rows, field, file, name);
    };
    auto const numbers = [&](std::string const& name, double SweepRow::*field) {
        put(file.values<double>(name), rows, field, file, name);
    };
    integers("/sweeps/round", &SweepRow::round);
    integers("/sweeps/tokens", &SweepRow::tokens);
    integers("/sweeps/examples", &SweepRow::examples);
    integers("/sweeps/repeated", &SweepRow::repeated);
    integers("/sweeps/left_over", &SweepRow::left_over);
    numbers("/sweeps/seconds", &SweepRow::seconds);
    numbers("/sweeps/busy", &SweepRow::busy);
    std::string const communication = "/sweeps/communication", by_rank = "/sweeps/busy_by_rank";
    if (file.exists(communication)) numbers(communication, &SweepRow::communication);
    if (!file.exists(by_rank)) return rows;
    auto const dims = file.dims_of(by_rank, Element::f64, 2);
    check_length(file, by_rank, static_cast<std::size_t>(dims[0]), rows.size());
    auto const busy = file.values<double>(by_rank, 2);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        auto const from = busy.begin() + static_cast<std::ptrdiff_t>(i) * dims[1];
        // A sweep of fewer ranks than another's ends in NaN.
        auto const end = std::find_if(from, from + dims[1], [](double value) { return std::isnan(value); });
        rows[i].busy_by_rank.assign(from, end);
    }
    return rows;
}

void load_positions(FileReader const& file, std::string const& group, std::vector<MetricValue>& cells) {
    if (!file.is_group(group)) return;
    std::string const name = group + "/value", count_name = group + "/count";
    auto const dims = file.dims_of(name, Element::f64, 2);
    if (dims != file.dims_of(count_name, Element::i64, 2)) file.fail_at(count_name, "of another shape than value");
    check_length(file, name, static_cast<std::size_t>(dims[0]), cells.size());
    auto const values = file.values<double>(name, 2);
    auto const counts = file.values<std::int64_t>(count_name, 2);
    for (std::size_t i = 0; i < cells.size(); ++i) {
        auto const from = static_cast<std::ptrdiff_t>(i) * dims[1];
        cells[i].by_position.assign(values.begin() + from, values.begin() + from + dims[1]);
        cells[i].count_by_position.assign(counts.begin() + from, counts.begin() + from + dims[1]);
    }
}

// Whether the evaluation measured the metric at all.
bool is_measured(MetricValue const& cell) {
    auto const is_number = [](double value) { return !std::isnan(value); };
    return is_number(cell.value) || is_number(cell.low) || is_number(cell.high) ||
           std::any_of(cell.by_position.begin(), cell.by_position.end(), is_number) ||
           std::any_of(cell.count_by_position.begin(), cell.count_by_position.end(), [](auto n) { return n != 0; });
}

void load_metric(FileReader const& file, std::string const& metric, std::vector<EvaluationRow>& rows) {
    std::string const group = "/evaluations/" + metric;
    auto const step = file.values<std::int64_t>(group + "/step");
    if (rows.empty()) {
        rows.resize(step.size());
        put(step, rows, &EvaluationRow::step, file, group + "/step");
        put(file.values<std::int64_t>(group + "/round"), rows, &EvaluationRow::round, file, group + "/round");
    }
    if (step != picked(rows, &EvaluationRow::step) ||
        file.values<std::int64_t>(group + "/round") != picked(rows, &EvaluationRow::round))
        file.fail_at(group, "of other evaluations than the first metric");
    std::vector<MetricValue> cells(rows.size());
    put(file.values<double>(group + "/value"), cells, &MetricValue::value, file, group + "/value");
    put(file.values<double>(group + "/low"), cells, &MetricValue::low, file, group + "/low");
    put(file.values<double>(group + "/high"), cells, &MetricValue::high, file, group + "/high");
    load_positions(file, group + std::string(by_position), cells);
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (is_measured(cells[i])) rows[i].metrics[metric] = std::move(cells[i]);
}

std::vector<RunTables::Event> load_events(FileReader const& file) {
    auto const time = file.texts("/events/time");
    std::vector<RunTables::Event> rows(time.size());
    put(time, rows, &RunTables::Event::time, file, "/events/time");
    put(file.texts("/events/kind"), rows, &RunTables::Event::kind, file, "/events/kind");
    put(file.texts("/events/text"), rows, &RunTables::Event::text, file, "/events/text");
    return rows;
}

std::vector<MemoryRow> load_memory(FileReader const& file) {
    if (!file.is_group("/memory")) return {};
    auto const name = file.texts("/memory/name");
    std::vector<MemoryRow> rows(name.size());
    put(name, rows, &MemoryRow::name, file, "/memory/name");
    put(file.values<std::int64_t>("/memory/bytes"), rows, &MemoryRow::bytes, file, "/memory/bytes");
    return rows;
}

std::vector<CheckpointRow> load_checkpoints(FileReader const& file) {
    if (!file.is_group("/checkpoints")) return {};
    auto const step = file.values<std::int64_t>("/checkpoints/step");
    std::vector<CheckpointRow> rows(step.size());
    put(step, rows, &CheckpointRow::step, file, "/checkpoints/step");
    put(file.values<std::int64_t>("/checkpoints/bytes"), rows, &CheckpointRow::bytes, file, "/checkpoints/bytes");
    for (auto const& [name, field] : {std::pair("/checkpoints/stall_seconds", &CheckpointRow::stall_seconds),
                                      std::pair("/checkpoints/write_seconds", &CheckpointRow::write_seconds)})
        put(file.values<double>(name), rows, field, file, name);
    return rows;
}

std::int64_t expected_bytes(std::string const& deck, RunTables const& tables) {
    std::size_t bytes = deck.size() + 57 * tables.steps.size() + 32 * tables.checkpoints.size();
    std::size_t kind = 0, event = 0, datasets = 27, row = 0;
    for (SweepRow const& sweep : tables.sweeps) kind = std::max(kind, sweep.kind.size());
    for (RunTables::Event const& e : tables.events)
        event = std::max(event, e.time.size() + e.kind.size() + e.text.size());
    for (EvaluationRow const& evaluation : tables.evaluations) {
        std::size_t these = 0;
        for (auto const& [metric, value] : evaluation.metrics) these += 40 + 16 * value.by_position.size();
        row = std::max(row, these);
        datasets = std::max(datasets, 27 + 7 * evaluation.metrics.size());
    }
    std::size_t memory = 0;
    for (MemoryRow const& one : tables.memory) memory = std::max(memory, one.name.size() + 8);
    bytes += memory * tables.memory.size();
    bytes += (64 + kind + 8 * most_ranks(tables.sweeps)) * tables.sweeps.size() + event * tables.events.size() +
             row * tables.evaluations.size();
    return expected_file_bytes(static_cast<std::int64_t>(bytes), static_cast<std::int64_t>(datasets));
}

}  // namespace

void write_run(Path const& path, std::string const& deck, RunTables const& tables) {
    FileWriter out(path, "selvage-run", {nullptr, expected_bytes(deck, tables)});
    out.root_attributes(deck, {});
    write_steps(out, tables.steps);
    write_sweeps(out, tables.sweeps);
    write_evaluations(out, tables.evaluations);
    out.group("/events");
    out.text_column("/events/time", picked(tables.events, &RunTables::Event::time));
    out.text_column("/events/kind", picked(tables.events, &RunTables::Event::kind));
    out.text_column("/events/text", picked(tables.events, &RunTables::Event::text));
    out.group("/memory");
    out.text_column("/memory/name", picked(tables.memory, &MemoryRow::name));
    out.column("/memory/bytes", picked(tables.memory, &MemoryRow::bytes));
    out.group("/checkpoints");
    out.column("/checkpoints/step", picked(tables.checkpoints, &CheckpointRow::step));
    out.column("/checkpoints/bytes", picked(tables.checkpoints, &CheckpointRow::bytes));
    out.column("/checkpoints/stall_seconds", picked(tables.checkpoints, &CheckpointRow::stall_seconds));
    out.column("/checkpoints/write_seconds", picked(tables.checkpoints, &CheckpointRow::write_seconds));
    out.commit();
}

RunTables load_run(FileReader const& file) {
    file.expect("selvage-run");
    RunTables tables{load_steps(file),  load_sweeps(file), {},
                     load_events(file), load_memory(file), load_checkpoints(file)};
    for (std::string const& metric : file.names_in("/evaluations"))
        if (!metric.ends_with(by_position)) load_metric(file, metric, tables.evaluations);
    return tables;
}

}  // namespace selvage::io

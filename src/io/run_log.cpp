// SPDX-License-Identifier: Apache-2.0
#include "io/run_log.h"

#include <algorithm>
#include <system_error>

#include "base/log.h"
#include "base/timer.h"
#include "io/contents.h"
#include "io/run_tables.h"

namespace selvage::io {
namespace {

template <class Row>
void cut(std::vector<Row>& table, std::string const& name, std::map<std::string, std::int64_t> const& rows,
         Path const& path) {
    auto const wanted = rows.find(name);
    auto const count = static_cast<std::size_t>(wanted != rows.end() ? std::max<std::int64_t>(0, wanted->second) : 0);
    if (table.size() < count)
        fail(
            ExitCode::bad_data,
            "{} has {} rows of {} where the checkpoint counts {} (it is of another run or an older copy); put back the "
            "file of that run, or remove it to go on without its past",
            path.string(), table.size(), name, count);
    table.resize(count);
}

}  // namespace

RunLog::RunLog(IoThread& io, Path path, std::string deck, std::map<std::string, std::int64_t> const& rows)
    : io_(io), path_(std::move(path)), deck_(std::move(deck)) {
    std::error_code error;
    if (!std::filesystem::exists(path_, error)) return;
    RunTables tables;
    try {
        tables = io_.call([&] { return load_run(FileReader(path_)); });
    } catch (Error const& damage) {
        if (damage.code() != ExitCode::bad_data) throw;
        if (!rows.empty())
            fail(ExitCode::bad_data,
                 "the run log cannot go on: {}; put back a good copy, or remove the file to go on without its past",
                 damage.what());
        log::warning("starting a new run log: {}", damage.what());
        return;
    }
    cut(tables.steps, "steps", rows, path_);
    cut(tables.sweeps, "sweeps", rows, path_);
    cut(tables.evaluations, "evaluations", rows, path_);
    steps_ = std::move(tables.steps);
    sweeps_ = std::move(tables.sweeps);
    evaluations_ = std::move(tables.evaluations);
    memory_ = std::move(tables.memory);
    checkpoints_ = std::move(tables.checkpoints);
    for (auto& event : tables.events) events_.push_back({event.time, event.kind, event.text});
}

void RunLog::add(StepRow const& row) { steps_.push_back(row); }

void RunLog::add(SweepRow const& row) { sweeps_.push_back(row); }

void RunLog::add(EvaluationRow row) { evaluations_.push_back(std::move(row)); }

void RunLog::event(std::string const& kind, std::string const& text) { events_.push_back({utc_now(), kind, text}); }

std::map<std::string, std::int64_t> RunLog::table_rows() const {
    return {{"steps", static_cast<std::int64_t>(steps_.size())},
            {"sweeps", static_cast<std::int64_t>(sweeps_.size())},
            {"evaluations", static_cast<std::int64_t>(evaluations_.size())}};
}

std::function<void()> RunLog::writing() const {
    RunTables tables{steps_, sweeps_, evaluations_, {}, memory_, checkpoints_};
    for (Event const& event : events_) tables.events.push_back({event.time, event.kind, event.text});
    return [path = path_, deck = deck_, tables = std::move(tables)] { write_run(path, deck, tables); };
}

void RunLog::start_flush(bool always) {
    auto const is_done = [](std::future<void>& one) {
        return one.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    };
    while (!under_way_.empty() && is_done(under_way_.front())) {
        auto done = std::move(under_way_.front());
        under_way_.erase(under_way_.begin());
        done.get();
    }
    if (always || under_way_.empty()) under_way_.push_back(io_.submit(writing()));
}

void RunLog::flush() {
    for (auto& one : std::exchange(under_way_, {})) one.get();
    io_.call(writing());
}

}  // namespace selvage::io

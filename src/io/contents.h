// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: from an open file to its struct, with everything checked that a reader may rely on: lengths agree,
// offsets rise, codes are known, numbers are finite. Errors (bad_data) name file, dataset and index.
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "io/file_reader.h"
#include "io/files.h"
#include "io/run_log.h"

namespace selvage::io {

DataFile load_data(FileReader const& file);
DraftsFile load_drafts(FileReader const& file);
WovenFile load_woven(FileReader const& file);
ScoresFile load_scores(FileReader const& file);
CheckpointInfo load_info(FileReader const& file);

struct RunTables {
    struct Event {
        std::string time, kind, text;
    };
    std::vector<StepRow> steps;
    std::vector<SweepRow> sweeps;
    std::vector<EvaluationRow> evaluations;
    std::vector<Event> events;
    std::vector<MemoryRow> memory;
    std::vector<CheckpointRow> checkpoints;
};
RunTables load_run(FileReader const& file);

template <class Number>
void check_finite(FileReader const& file, std::string const& name, std::span<Number const> values,
                  std::int64_t first = 0) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (!std::isfinite(values[i]))
            file.fail_at(name, fmt::format("{} at {}", values[i], first + static_cast<std::int64_t>(i)));
}

template <class Number>
void check_range(FileReader const& file, std::string const& name, std::vector<Number> const& values, std::int64_t least,
                 std::int64_t most) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::int64_t const value = values[i]; value < least || value > most)
            file.fail_at(name, fmt::format("{} at {}, outside of {} to {}", value, i, least, most));
}

}  // namespace selvage::io

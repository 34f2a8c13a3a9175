// SPDX-License-Identifier: Apache-2.0
#include "sweep/draft_journal.h"

#include <cstdio>
#include <limits>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "text/record_bytes.h"

namespace selvage {
namespace {

namespace fs = std::filesystem;

// Sweeps in the order of a run: evaluation 0, generation 1, evaluation 1, generation 2, ...
std::int64_t place_of_generation(std::int64_t round) { return 2 * round - 1; }
std::int64_t place_of_evaluation(std::int64_t round) { return 2 * round; }

// The first sweep with a journal that is not finished in this state.
std::int64_t place_of(io::RunState const& state) {
    switch (state.phase) {
        case io::Phase::evaluate_start:
            return place_of_evaluation(0);
        case io::Phase::generate:
            return place_of_generation(state.round);
        case io::Phase::train:
        case io::Phase::evaluate:
            return place_of_evaluation(state.round);
        case io::Phase::finished:
            break;
    }
    return std::numeric_limits<std::int64_t>::max();
}

// Of the file of a journal; nothing for other files.
std::optional<std::int64_t> place_of(std::string const& file) {
    unsigned round = 0, rank = 0;
    if (std::sscanf(file.c_str(), "round-%9u.rank-%9u", &round, &rank) == 2) return place_of_generation(round);
    if (std::sscanf(file.c_str(), "evaluation-%9u.rank-%9u", &round, &rank) == 2) return place_of_evaluation(round);
    return std::nullopt;
}

}  // namespace

std::string generation_journal(std::int64_t round) { return fmt::format("round-{:04}", round); }
std::string evaluation_journal(std::int64_t round) { return fmt::format("evaluation-{:04}", round); }

void remove_journals_before(fs::path const& folder, io::RunState const& state) {
    // The folder stays: others may be walking through the output folder.
    std::error_code ignored;
    std::vector<fs::path> files;
    for (auto const& entry : fs::directory_iterator(folder, ignored)) files.push_back(entry.path());
    for (fs::path const& file : files) {
        auto const place = place_of(file.filename().string());
        if (place && *place < place_of(state)) fs::remove(file, ignored);
    }
}

DraftJournal::DraftJournal(ProcessGrid const& grid, fs::path const& folder, std::string const& name,
                           std::string const& belongs_to) {
    Communicator& world = grid.world();
    std::string records;
    agree(world, [&] {
        if (grid.is_root()) records = read(folder, name, belongs_to);
    });
    records = broadcast_text(world, std::move(records), 0);
    ByteReader reader(std::as_bytes(std::span(records)));
    while (!reader.at_end()) {
        Draft draft;
        draft_fields(reader, draft);
        found_.emplace(Key(draft.example, draft.sample, draft.turn), std::move(draft));
    }
    // Behind the reading: a writer cuts off what is damaged.
    agree(world, [&] {
        if (grid.coordinate(Axis::tensor) == 0)
            writer_ = std::make_unique<io::JournalWriter>(io::journal_path(folder, name, world.rank()), belongs_to);
    });
}

std::string DraftJournal::read(fs::path const& folder, std::string const& name, std::string const& belongs_to) const {
    std::string records;
    for (fs::path const& path : io::journals_of(folder, name)) {
        io::Journal const journal = io::read_journal(path);
        if (journal.belongs_to != belongs_to) {
            log::warning("{} is of other weights, settings or data ({} drafts, {}); they are made again", path.string(),
                         journal.records.size(), journal.belongs_to.empty() ? "damaged" : "another header");
            fs::remove(path);
            continue;
        }
        if (journal.lost_bytes > 0)
            log::info("{}: the last {} bytes are of a draft that was not written whole", path.string(),
                      journal.lost_bytes);
        for (auto const& record : journal.records)
            records.append(reinterpret_cast<char const*>(record.data()), record.size());
    }
    return records;
}

Draft const* DraftJournal::find(std::int64_t example, std::int32_t sample, std::int32_t turn) const {
    auto const found = found_.find({example, sample, turn});
    return found != found_.end() ? &found->second : nullptr;
}

std::vector<Draft> DraftJournal::take_found() {
    std::vector<Draft> drafts;
    for (auto& [key, draft] : found_) drafts.push_back(std::move(draft));
    found_.clear();
    return drafts;
}

void DraftJournal::add(Draft const& draft) {
    if (!writer_) return;
    ByteWriter record;
    draft_fields(record, draft);
    writer_->add(record.bytes());
}

}  // namespace selvage

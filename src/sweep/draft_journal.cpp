// SPDX-License-Identifier: Apache-2.0
#include "sweep/draft_journal.h"

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "text/record_bytes.h"

namespace selvage {
namespace {

namespace fs = std::filesystem;

}  // namespace

DraftJournal::DraftJournal(ProcessGrid const& grid, fs::path const& folder, std::int64_t round,
                           std::string const& belongs_to) {
    Communicator& world = grid.world();
    std::string const name = fmt::format("round-{:04}", round);
    agree(world, [&] {
        if (grid.is_root()) read(folder, name, belongs_to);
    });
    tell(world);
    // Behind the reading: a writer cuts off what is damaged.
    agree(world, [&] {
        if (grid.coordinate(Axis::tensor) == 0)
            writer_ = std::make_unique<io::JournalWriter>(io::journal_path(folder, name, world.rank()), belongs_to);
    });
}

void DraftJournal::read(fs::path const& folder, std::string const& name, std::string const& belongs_to) {
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
        for (auto const& record : journal.records) {
            Draft draft;
            ByteReader reader(record);
            draft_fields(reader, draft);
            if (done_.emplace(draft.example, draft.sample).second) found_.push_back(std::move(draft));
        }
    }
}

void DraftJournal::tell(Communicator& world) {
    std::string keys;
    if (world.rank() == 0) {
        ByteWriter writer;
        for (Key const& key : done_) {
            writer.value(key.first);
            writer.value(key.second);
        }
        keys.assign(reinterpret_cast<char const*>(writer.bytes().data()), writer.bytes().size());
    }
    keys = broadcast_text(world, keys, 0);
    if (world.rank() == 0) return;
    ByteReader reader(std::as_bytes(std::span(keys)));
    while (!reader.at_end()) {
        Key key;
        reader.value(key.first);
        reader.value(key.second);
        done_.insert(key);
    }
}

void DraftJournal::add(Draft const& draft) {
    if (!writer_) return;
    ByteWriter record;
    draft_fields(record, draft);
    writer_->add(record.bytes());
}

void remove_journals(fs::path const& folder) {
    // The folder stays: others may be walking through the output folder.
    std::error_code ignored;
    std::vector<fs::path> files;
    for (auto const& entry : fs::directory_iterator(folder, ignored)) files.push_back(entry.path());
    for (fs::path const& file : files) fs::remove(file, ignored);
}

}  // namespace selvage

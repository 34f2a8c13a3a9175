// SPDX-License-Identifier: Apache-2.0
#pragma once
// The drafts that a generation or evaluation sweep has finished, on disk as they are finished: a sweep that was stopped
// or killed goes on from them.
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "comm/process_grid.h"
#include "io/files.h"
#include "io/journal.h"
#include "text/records.h"

namespace selvage {

// Names of the sweeps' journals in the folder of journals: "round-0001", "evaluation-0001".
std::string generation_journal(std::int64_t round);
std::string evaluation_journal(std::int64_t round);

// Removes the journals of sweeps that a run which goes on from `state` has behind it. By one rank.
void remove_journals_before(std::filesystem::path const& folder, io::RunState const& state);

class DraftJournal {
  public:
    // Collective over the world. Takes up what `folder` has of this sweep, whichever ranks left it. Files that belong
    // to anything else (another policy, sampler, data) are removed, with a warning. Error(io): cannot read or write.
    DraftJournal(ProcessGrid const& grid, std::filesystem::path const& folder, std::string const& name,
                 std::string const& belongs_to);
    // The draft if it was finished before this start, else null. On every rank.
    Draft const* find(std::int64_t example, std::int32_t sample, std::int32_t turn = 0) const;
    std::size_t found() const { return found_.size(); }
    // All those, on every rank.
    std::vector<Draft> take_found();
    // A draft that this rank has finished; of a group of the tensor axis the first rank writes it.
    void add(Draft const& draft);

  private:
    using Key = std::tuple<std::int64_t, std::int32_t, std::int32_t>;
    // Rank 0's part, as bytes for the others.
    std::string read(std::filesystem::path const& folder, std::string const& name, std::string const& belongs_to) const;

    std::map<Key, Draft> found_;
    std::unique_ptr<io::JournalWriter> writer_;  // null where another rank writes
};

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The drafts that a generation sweep has finished, on disk as they are finished: a sweep that was stopped or killed
// goes on from them.
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "comm/process_grid.h"
#include "io/journal.h"
#include "text/records.h"

namespace selvage {

class DraftJournal {
  public:
    // Collective over the world. Takes up what `folder` has of this round, whichever ranks left it. Files that belong
    // to anything else (another policy, sampler, data) are removed, with a warning. Error(io): cannot read or write.
    DraftJournal(ProcessGrid const& grid, std::filesystem::path const& folder, std::int64_t round,
                 std::string const& belongs_to);
    // Whether the draft was finished before this start. Every rank knows.
    bool has(std::int64_t example, std::int32_t sample) const { return done_.contains({example, sample}); }
    std::int64_t found() const { return static_cast<std::int64_t>(done_.size()); }
    // Those drafts, on rank 0; elsewhere empty.
    std::vector<Draft> take_found() { return std::move(found_); }
    // A draft that this rank has finished; of a group of the tensor axis the first rank writes it.
    void add(Draft const& draft);

  private:
    using Key = std::pair<std::int64_t, std::int32_t>;
    void read(std::filesystem::path const& folder, std::string const& name, std::string const& belongs_to);
    void tell(Communicator& world);

    std::set<Key> done_;
    std::vector<Draft> found_;
    std::unique_ptr<io::JournalWriter> writer_;  // null where another rank writes
};

// Of all rounds; by one rank. Their drafts are in a drafts file, and a checkpoint counts on it.
void remove_journals(std::filesystem::path const& folder);

}  // namespace selvage

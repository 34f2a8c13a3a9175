// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a run starts: at the newest valid checkpoint of its folder, at a named one, or from nothing.
#include <optional>
#include <string>
#include <vector>

#include "io/files.h"

namespace selvage {

struct Start {
    std::optional<io::Path> checkpoint;
    io::RunState state;
    std::string deck;                    // of the checkpoint
    std::vector<io::Path> to_set_aside;  // on rank 0: what the run would overwrite
};

// Rank 0 alone. `choice` is "auto", "never" or a checkpoint's path. Damaged checkpoints are passed over, with a
// warning; so is one in the middle of a training sweep whose woven file is gone. Nothing is changed in the folder.
Start choose_start(io::IoThread& io, io::Path const& folder, std::string const& choice);

// Rank 0 alone. Moves the paths to a new folder previous-N beside them, for "never" or a checkpoint that is not the
// newest of the folder.
void set_aside(std::vector<io::Path> const& paths, io::Path const& folder);

// Rank 0 alone, holding the folder's lock: removes the unfinished files of a job that was killed.
void remove_unfinished(io::Path const& folder);

// The keys and values of an effective deck that may not differ when a run goes on, as text.
std::string lasting_part(std::string const& deck);
// Error (bad_data) naming the keys in which the deck differs from the checkpoint's, but for those that may.
void check_same_deck(std::string const& old_deck, std::string const& new_deck, io::Path const& checkpoint);

}  // namespace selvage

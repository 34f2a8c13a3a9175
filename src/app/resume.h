// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a run starts: at the newest valid checkpoint of its folder, at a named one, or from nothing.
#include <optional>
#include <string>

#include "io/files.h"

namespace selvage {

struct Start {
    std::optional<io::Path> checkpoint;
    io::RunState state;
    std::string deck;  // of the checkpoint
};

// Rank 0 alone. `choice` is "auto", "never" or a checkpoint's path. Damaged checkpoints are passed over, with a
// warning; so is one in the middle of a training sweep whose woven file is gone. With "never", or a checkpoint that is
// not the newest of the folder, what would be overwritten moves to a folder previous-N.
Start choose_start(io::IoThread& io, io::Path const& folder, std::string const& choice);

// Error (bad_data) naming the keys in which the deck differs from the checkpoint's, but for those that may.
void check_same_deck(std::string const& old_deck, std::string const& new_deck, io::Path const& checkpoint);

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a rank that cannot go on tells the others, who are in the middle of something and not in agree().
#include <optional>
#include <string>

#include "base/error.h"
#include "comm/communicator.h"

namespace selvage {

// To all other ranks. Does not wait for them.
void send_failure(Communicator& ranks, ExitCode code, std::string const& message);
// What another rank sent, its number added. Does not wait.
std::optional<Error> poll_failure(Communicator& ranks);

}  // namespace selvage

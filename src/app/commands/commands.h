// SPDX-License-Identifier: Apache-2.0
#pragma once
// The commands of the program. Each returns an exit code, or throws.
#include <functional>
#include <string>
#include <vector>

#include "app/command_line.h"

namespace selvage {

struct Command {
    CommandSpec spec;
    std::function<int(MpiSession&, Arguments const&)> run;
};

std::vector<Command> all_commands();

Command run_command();
Command check_command();
Command prepare_command();
Command generate_command();
Command evaluate_command();
Command score_command();
Command info_command();
Command import_command();
Command export_command();

std::string version_text();

}  // namespace selvage

// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "app/commands/commands.h"
#include "app/session.h"

namespace selvage {
namespace {

int info(MpiSession& mpi, Arguments const& arguments) {
    auto const io = open_io(mpi);
    std::string const text = io::describe_file(*io, arguments.positional()[0]);
    if (mpi.world()->rank() == 0) std::fputs(text.c_str(), stdout);
    return 0;
}

}  // namespace

Command info_command() { return {{"info", "FILE", 1, 1, "what a file of Selvage is, in a screenful", {}}, info}; }

}  // namespace selvage

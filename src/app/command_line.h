// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "comm/mpi_session.h"

namespace selvage {

// One option of a command. Flags take no value; others take one.
struct OptionSpec {
    std::string name;   // without the dashes
    std::string value;  // what stands for the value in the help ("DIR"); "": a flag
    std::string help;
    bool repeated = false;
};

struct CommandSpec {
    std::string name;
    std::string positional;  // "DECK", "FILE...", for the help
    int least = 0;           // number of positional arguments
    int most = 0;
    std::string summary;
    std::vector<OptionSpec> options;
};

// What stood on the command line.
class Arguments {
  public:
    // Errors (usage): an unknown option (names the nearest), a missing value, too few or too many arguments.
    Arguments(CommandSpec const& spec, std::vector<std::string> const& words);

    bool help() const { return flag("help"); }
    std::vector<std::string> const& positional() const { return positional_; }
    bool flag(std::string const& name) const { return values_.contains(name); }
    std::string value(std::string const& name, std::string const& fallback) const;
    // Error (usage) where it is missing.
    std::string required(std::string const& name) const;
    std::vector<std::string> all(std::string const& name) const;

  private:
    std::string command_;
    std::vector<std::string> positional_;
    std::map<std::string, std::vector<std::string>> values_;
};

// The option that takes deck keys, the same for all commands.
OptionSpec set_option();

std::string help_of(CommandSpec const& spec);

// Runs the command that the words name; returns the exit code.
int dispatch(MpiSession& mpi, std::vector<std::string> const& words);

}  // namespace selvage
